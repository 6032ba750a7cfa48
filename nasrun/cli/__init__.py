"""Start the program: find a command, print help, complete words. No torch, no Hydra here."""
