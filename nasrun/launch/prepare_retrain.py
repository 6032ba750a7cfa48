"""Prepare a job of `nasrun retrain`: build everything, and find all that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

from omegaconf import DictConfig, OmegaConf

from nasrun.config import catalogue, checks, compose, identity, schema
from nasrun.errors import UsageError, brief, raise_together
from nasrun.genotypes.genotype import Genotype
from nasrun.launch import hparams, tracker
from nasrun.launch.places import GENOTYPE
from nasrun.launch.supervision import Prepared
from nasrun.protocols.result import Result
from nasrun.runs.folder import RunFolder
from nasrun.terminal import console
from nasrun.terminal.progress import Display


def prepare(
    config: DictConfig,
    overrides: Sequence[str],
    choices: Mapping[str, str],
    *,
    display: Display | None = None,
    places: Mapping[str, str] = MappingProxyType({}),
) -> Prepared:
    """Find everything that can be wrong, before a file is written."""
    genotype, config = resolved(config, choices, places.get(GENOTYPE))
    settings = compose.to_typed(config, schema.RetrainCommandConfig, choices, places)
    raise_together([*checks.all_faults(settings), *checks.missing_places(settings)])
    from nasrun.compute import process_group
    from nasrun.engine import batches, retrain
    from nasrun.engine.drive import open_session
    from nasrun.engine.search import bytes_written, run_known
    from nasrun.engine.wiring import Wiring

    display = display or Display()
    group = process_group.join(settings.device)
    wiring = Wiring(settings, display.progress, group)
    if genotype is None:
        genotype = wiring.space.sample(wiring.streams.numpy("genotype"))
    wiring.space.validate(genotype)
    retrain.require_possible(settings.retrain, wiring.dataset.train)
    batches.require_possible(wiring)

    tracked = tracker.of_run(settings, config, choices, wiring, "retrain")

    def run(folder: RunFolder) -> Result:
        for note in batches.notes(wiring):
            display.message(note)
        begin = partial(tracker.begin, tracked, display.message)
        with open_session(wiring, folder, "retrain", display, begin) as session:
            result = run_known(wiring, settings, session, genotype)
            hparams.record(session.recorder, config, overrides, result)
        return result

    record = {"kind": "retrain", "genotype": genotype.to_json(), **wiring.record()}
    decisive = identity.decisive(settings)
    return Prepared(record, run, decisive, bytes_written(wiring, genotype), group, tracked)


def resolved(
    config: DictConfig, choices: Mapping[str, str], place: str | None = None
) -> tuple[Genotype | None, DictConfig]:
    """Return the genotype, `None` for a random one, and the configuration with its space.

    Args:
        choices: group -> chosen option.
        place: where it is, where that is elsewhere than the configuration says.
    """
    from nasrun.compute import torchrun
    from nasrun.genotypes.source import resolve

    if OmegaConf.is_missing(config, "genotype"):
        raise UsageError(
            "retrain needs an architecture: nasrun retrain genotype=<run folder, file or text>"
        )
    network = choices.get("network")
    known = catalogue.content("network", str(network), catalogue.conf_dir()).get("genotype")
    if known not in (None, config.genotype):
        raise UsageError(
            f"network={network} and genotype={brief(str(config.genotype))} are two architectures: "
            "leave one of them out"
        )
    if config.retrain.epochs == 0:
        raise UsageError("retrain.epochs=0 leaves nothing to do: choose retrain=short")
    text = place or str(config.genotype)
    tell = console.complain if torchrun.rank() == 0 else lambda _: None
    genotype = None if text == "random" else resolve(text, tell)
    return genotype, with_space(config, genotype)


def with_space(config: DictConfig, genotype: Genotype | None) -> DictConfig:
    """Put the space of the genotype in the place of `space=null`.

    Its settings are those of `conf/space/<name>`.
    """
    if config.get("space") is not None:
        return config
    if genotype is None:
        raise UsageError("genotype=random needs a space: add space=darts or space=nasbench201")
    known = [option.name for option in catalogue.options("space", catalogue.conf_dir())]
    if genotype.space not in known:  # it may come from a stranger, and name a file elsewhere
        raise UsageError(f"the genotype is of the space '{genotype.space}', which does not exist")
    with_node = config.copy()
    OmegaConf.set_struct(with_node, False)
    with_node.space = OmegaConf.load(catalogue.file(catalogue.conf_dir(), "space", genotype.space))
    return with_node
