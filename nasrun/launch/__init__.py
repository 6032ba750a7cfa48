"""Start jobs: one, a sweep, on launchers, from a record; decide what Hydra may be told."""
