"""Refuse settings of Hydra itself in files that are not ours.

Hydra makes callbacks, log handlers, launchers and sweepers of what it finds under `hydra`, before
any job begins. A folder given with `--config-dir` may come from a stranger, so its files may say
where runs are written and what is swept, and nothing else of Hydra. What the user types counts.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.default_element import ResultDefault
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from nasrun.config import untrusted_yaml
from nasrun.config.catalogue import conf_dir
from nasrun.config.identity import leaves
from nasrun.config.untrusted_yaml import MAX_CONFIG_BYTES
from nasrun.errors import UsageError, brief
from nasrun.launch.replay import is_setting
from nasrun.runs.folder import read_text

FREE = ("job.name", "run.dir", "sweep.dir", "sweep.subdir")
AS_OURS = {  # what a copy of our own conf/ says
    "output_subdir": None,
    "sweeper._target_": "hydra_plugins.nasrun.Sweeper",
    "sweeper.params": None,
}
SWEPT = "sweeper.params."
SWEPT_KEY = re.compile(r"[A-Za-z]\w*([./][A-Za-z]\w*)*", re.ASCII)


@contextmanager
def guarded() -> Iterator[None]:
    """Look at each file that Hydra composes, before Hydra acts on what it says.

    Hydra has no hook between composing and acting, so the method that loads one file is replaced
    for a while; hydra-core is pinned, and a test knows when that method is gone.
    """
    original = ConfigLoaderImpl._load_single_config

    def load(self: ConfigLoaderImpl, default: ResultDefault, repo: Any) -> ConfigResult:
        _require_inside(default.config_path or "")
        with warnings.catch_warnings():
            # our launchers extend those of the same name that plug-ins bring, as we want it
            warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against")
            result = original(self, default, repo)
        require_modest(result)
        return result

    ConfigLoaderImpl._load_single_config = load  # type: ignore[method-assign]
    try:
        yield
    finally:
        ConfigLoaderImpl._load_single_config = original  # type: ignore[method-assign]


def require_bounded(words: Sequence[str]) -> None:
    """Raise a `UsageError` where a file in the folder of a `--config-` flag is too large for Hydra.

    It may be large itself, or by its aliases so endless that Hydra would not come to an end with
    it.
    """
    for word in words:
        flag, _, folder = word.partition("=")
        if flag in ("--config-dir", "--config-path"):
            for pattern in ("*.yaml", "*/*.yaml", "*/*/*.yaml"):
                for path in Path(folder).glob(pattern):
                    _require_bounded(path)


def _require_bounded(path: Path) -> None:
    text = read_text(path, MAX_CONFIG_BYTES)
    try:
        content = untrusted_yaml.parse(text, path)
    except untrusted_yaml.Endless:
        raise
    except UsageError:
        return  # Hydra says it better, if it has to read this file at all
    for _ in untrusted_yaml.leaves(content, str(path)):
        pass


def require_modest(loaded: ConfigResult) -> None:
    """Raise a `UsageError` where a file from elsewhere sets more of Hydra than it may.

    Args:
        loaded: its contents are where they will be in the composed configuration.
    """
    if _is_trusted(loaded.path):
        return
    content = OmegaConf.to_container(loaded.config, resolve=False)
    if not isinstance(content, Mapping) or "hydra" not in content:
        return
    for key, value in leaves(content["hydra"]):
        if not _may_say(key, value):
            name = f"hydra.{key}".rstrip(".")
            raise UsageError(
                f"a file in {loaded.path.removeprefix('file://')} sets {name}, which decides what "
                "Hydra runs: a configuration from elsewhere may not; type it on the command line"
            )


def _require_inside(path: str) -> None:
    """Raise a `UsageError` for an option that leads out of the folders of configurations.

    A record could name a file of a stranger so, which would count as ours.
    """
    if ".." in path.split("/") or path.startswith("/"):
        raise UsageError(
            f"{brief(path)} leads out of the folders of configurations: name an option of a group, "
            "and the folder that has it with --config-dir"
        )


def _is_trusted(source: str) -> bool:
    """Return whether a source is ours: our folder, Hydra's packages, the types that we register."""
    ours = f"file://{conf_dir()}"
    return source == ours or source.startswith(("pkg://hydra.", "structured://"))


def _may_say(key: str, value: Any) -> bool:
    if key in AS_OURS and value == AS_OURS[key]:
        return True
    if key.startswith(SWEPT):
        # An interpolation could become a node, of which Hydra would make an object.
        # It is parsed as an override, so its key must be one that a record may have, too.
        is_plain = isinstance(value, str | int | float) and "${" not in str(value)
        swept = key.removeprefix(SWEPT)
        return is_plain and is_setting(swept) and bool(SWEPT_KEY.fullmatch(swept))
    return key in FREE
