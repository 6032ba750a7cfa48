"""Hydra takes sweepers from the namespace package `hydra_plugins` only; ours is in nasrun."""

from nasrun.launch import sweeper


class Sweeper(sweeper.Sweeper):
    """See `nasrun.launch.sweeper`; chosen in `conf/hydra/sweeper/nasrun.yaml`."""
