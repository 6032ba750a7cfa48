"""Offer our sweeper to Hydra, and where plug-ins have options; it looks in this package only."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from nasrun.config import outside
from nasrun.launch import sweeper


class Sweeper(sweeper.Sweeper):
    """See `nasrun.launch.sweeper`; chosen in `conf/hydra/sweeper/nasrun.yaml`."""


class SearchPath(SearchPathPlugin):  # type: ignore[misc]
    """Let Hydra find the options of plug-ins from outside, after our own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in outside.folders():
            search_path.append("nasrun-plugin", f"file://{folder}")
