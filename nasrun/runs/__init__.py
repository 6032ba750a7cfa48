"""Keep run folders, sweep folders, records and checkpoints."""
