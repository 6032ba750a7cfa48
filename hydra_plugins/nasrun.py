"""Hydra takes sweepers from the namespace package `hydra_plugins` only; ours is in nasrun."""

from nasrun.commands import sweep


class Sweeper(sweep.Sweeper):
    """See `nasrun.commands.sweep`; chosen in `conf/hydra/sweeper/nasrun.yaml`."""
