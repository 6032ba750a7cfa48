"""Offer our sweeper to Hydra, which looks for sweepers in the package `hydra_plugins` only."""

from nasrun.launch import sweeper


class Sweeper(sweeper.Sweeper):
    """See `nasrun.launch.sweeper`; chosen in `conf/hydra/sweeper/nasrun.yaml`."""
