"""Open the door: start a command, help, completion. Nothing here imports torch or Hydra."""
