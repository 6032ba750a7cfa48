"""List the commands: what each is for, its usage, examples, primary config and known words."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from nasrun.config import catalogue
from nasrun.errors import UsageError


@dataclass(frozen=True, slots=True)
class CommandHelp:
    """All that help, dispatch and completion know of a command."""

    purpose: str
    usage: str
    examples: tuple[tuple[str, str], ...]  # (what to type, what it does)
    details: str = ""
    config: str = ""  # the primary config in conf/; empty for a command without Hydra
    keys: tuple[str, ...] = ()  # shown with their defaults, where they exist
    words: tuple[tuple[str, ...], ...] = ()  # known words by position, for TAB
    flags: tuple[str, ...] = ()  # of a command without Hydra, for TAB
    names: tuple[str, ...] = ()  # what can be named besides, for TAB: runs, sweeps, genotypes
    group: str = ""  # of conf/, whose options are known words too, at the last position
    more: Callable[[Path], Iterator[str]] | None = None  # paragraphs from the folder conf/


def _benchmark_files(root: Path) -> Iterator[str]:
    """Yield sentences on the files of each benchmark."""
    for option in catalogue.options("benchmark", root):
        told = catalogue.content("benchmark", option.name, root)
        yield f"{option.name}: {option.gloss}."
        if told.get("official"):
            yield f"Official files of {option.name}: {told['official']}."
        if told.get("csv"):
            yield f"A CSV file of {option.name} has the columns {told['csv']}."


NAMED = (
    "last (the newest that will do), or how its name below outputs/ begins (12-00-00-darts, "
    "2026-01-31/12-00, or 12-00-00/3, job 3 of a sweep)"
)
GENOTYPE = (
    "GENOTYPE is a run, RUN:2 (the second of its front), a file (a log, a module, JSON: the "
    "last genotype in it), FILE:NAME, a name (nasrun list genotypes), or (in quotes) a text: "
    "Genotype(normal=[...], reduce=[...]), JSON, |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, a matrix and "
    "operations, macro_cnn(2 conv3x3 w1 skip max, 1 conv5x5 w4 avg). A run is its "
    f"folder, or a name of it: {NAMED}"
)
COMMANDS = {
    "search": CommandHelp(
        "search for an architecture, then retrain it from scratch",
        "nasrun search [flags] [overrides]",
        (
            ("nasrun search", "EG-NAS on real digits"),
            ("nasrun search budget=smoke retrain=none", "each phase once"),
            ("nasrun search dataset=cifar10 dataset.download=true space=nasbench201", ""),
            ("nasrun search -m seed=0,1,2 fitness.zeta=0.4,1.0", "six runs and a table"),
            ("nasrun search -m seed=0,1,2 hydra/launcher=joblib", "at once: list launchers"),
            ("nasrun search --from outputs/2026-01-31/12-00-00-darts-egnas-s0", ""),
            ("nasrun search --from last budget.epochs=50", "the last search, longer"),
            ("nasrun search --cfg job", "what would run"),
        ),
        "The run folder is outputs/<date>/<time>-<space>-<strategy>-s<seed>/, that of a sweep "
        "outputs/sweeps/<date>/<time>/<job>/. An interrupted run or sweep goes on with nasrun "
        "resume. --from repeats a run; a group that is chosen anew drops all settings of the old "
        "choice.",
        "search",
        (
            "seed",
            "device",
            "precision",
            "on_oom",
            "name",
            "sweep.on_error",
            "dataset.limit",
            "dataset.batch_size",
            "space.channels",
            "space.cells",
            "space.partial_channels",
            "fitness.zeta",
            "fitness.eta",
            "population.size",
            "constraint.latency_ms",
            "constraint.params_m",
            "budget.epochs",
            "budget.evaluations",
            "budget.seconds",
            "retrain.epochs",
            "retrain.channels",
            "retrain.cells",
        ),
    ),
    "retrain": CommandHelp(
        "train a known architecture from scratch",
        "nasrun retrain genotype=GENOTYPE [flags] [overrides]",
        (
            ("nasrun retrain genotype=outputs/2026-01-31/12-00-00-darts-egnas-s0", ""),
            ("nasrun retrain genotype=last retrain=darts600", "of the last run"),
            ("nasrun retrain genotype=my_cell.json retrain=darts600 dataset=cifar10", ""),
            ("nasrun retrain genotype=darts_v2 dataset=cifar10", "a published cell"),
            ("nasrun retrain genotype=genotypes.py:DARTS", "of public code"),
            ("nasrun retrain network=resnet18 dataset=cifar10", "of torchvision"),
            ("nasrun retrain genotype=random space=darts seed=0", "to compare with"),
        ),
        f"{GENOTYPE}.",
        "retrain",
        (
            "genotype",
            "seed",
            "device",
            "dataset.batch_size",
            "retrain.epochs",
            "retrain.channels",
            "retrain.cells",
            "retrain.learning_rate",
            "retrain.drop_path",
        ),
    ),
    "check": CommandHelp(
        "try every phase of a run once; forecast time, memory and disk",
        "nasrun check [flags] [overrides]",
        (
            ("nasrun check", "a search"),
            ("nasrun check experiment=egnas_cifar10 dataset.root=data", ""),
            ("nasrun check -m strategy=egnas,dclenas seed=0,1", "a sweep"),
            ("nasrun check genotype=darts_v2 retrain=darts600", "a retraining"),
        ),
        "Takes what nasrun search takes and, with genotype=... or a recipe for it, what nasrun "
        "retrain takes. "
        "Composes and validates all, looks through the data, does a real step of each phase of "
        "search and retraining, writes and reads checkpoints, and tells all that is wrong in one "
        "message (exit code 2). Otherwise it forecasts what the run will take on this machine. "
        "Nothing is left behind but a predictor's pre-trained encoder in the cache, where the run "
        "finds it.",
        "search",
        ("seed", "device", "space.channels", "space.cells", "budget.epochs", "retrain.epochs"),
    ),
    "resume": CommandHelp(
        "go on with an interrupted run or sweep",
        "nasrun resume FOLDER [hydra/launcher=...] [KEY=PLACE ...]",
        (
            ("nasrun resume last", "what began last"),
            ("nasrun resume outputs/2026-01-31/12-00-00-darts-egnas-s0", "a run"),
            ("nasrun resume outputs/sweeps/2026-01-31/12-00-00", "a sweep"),
            ("nasrun resume outputs/sweeps/... hydra/launcher=joblib", "its jobs at once"),
            ("nasrun resume outputs/... dataset.root=/new/place", "data that moved"),
        ),
        "The run continues from its last checkpoint as if it had never stopped. Of a sweep, jobs "
        "that were interrupted go on, those that failed or never began are run, and those that "
        "are done are left as they are. A key that says where files are (dataset.root, "
        "dataset.file, evaluator.file, genotype) may be typed anew where they have moved; the data "
        "must be the same. Other settings stay.\n\n"
        f"FOLDER can be a name: {NAMED}.",
        names=("runs", "sweeps"),
    ),
    "report": CommandHelp(
        "compare many runs: tables, statistics, plots, one HTML page",
        "nasrun report FOLDER... [--by KEYS] [--metric M] [--out DIR] [--watch]",
        (
            ("nasrun report last", "the last sweep or run"),
            ("nasrun report outputs/sweeps/2026-01-31/12-00-00", "a sweep"),
            ("nasrun report outputs --by fitness.zeta,fitness.eta", "a two-way grid"),
            ("nasrun report outputs --metric regret --out mine", "written to mine/"),
            ("nasrun report last --watch", "renewed while it runs"),
        ),
        "FOLDER is a run, a sweep, or any folder above them, or a name: "
        f"{NAMED}. Runs that differ in nothing but the "
        "seed form a group; --by KEYS names what tells groups apart, and pools the rest.\n\n"
        "METRIC is what groups are judged by: test_accuracy (of the retrained network, else of the "
        "benchmark table; the default where a run has it), search_val_accuracy, regret, "
        "percentile, val_accuracy, macro_f1, balanced_accuracy, search_val_score (what the search "
        "maximised, where that is not the accuracy), sensitivity:CLASS, "
        "positive_predictivity:CLASS, params, flops, evaluations, label_epochs, search_seconds, "
        "gpu_days, held_out_tau, infill_tau.\n\n"
        "DIR (default: outputs/reports/<date>/<time>) gets report.md, .csv, .tex, .json and .html, "
        "a CSV file per further table, and each plot as PNG and SVG. report.html is one page with "
        "everything in it. Runs that are not done, or damaged, are listed and not counted. --watch "
        "writes it anew while jobs run, until all have ended or Ctrl-C.",
        names=("runs", "sweeps"),
        flags=("--by", "--metric", "--out", "--watch"),
    ),
    "show": CommandHelp(
        "draw the cells of a genotype",
        "nasrun show GENOTYPE [--out FILE.svg|FILE.png]",
        (
            ("nasrun show last", "of the last run that has one"),
            ("nasrun show outputs/2026-01-31/12-00-00-darts-egnas-s0", ""),
            ("nasrun show darts_v2 --out cells.svg", "a picture besides"),
        ),
        f"{GENOTYPE}. --out also writes a picture (needs no graphviz).",
        names=("runs", "genotypes"),
        flags=("--out",),
    ),
    "predict": CommandHelp(
        "ask a retrained network what pictures or arrays are",
        "nasrun predict RUN INPUT... [--top K] [--format csv|jsonl] [--out FILE]",
        (
            ("nasrun predict last photo.jpg", "the last retrained network"),
            ("nasrun predict outputs/2026-01-31/12-00-00-darts-egnas-s0 photo.jpg", ""),
            ("nasrun predict RUN holiday/ --top 1", "a folder"),
            ("nasrun predict RUN new.npz --format jsonl", "its x_test"),
        ),
        "RUN is the folder of a run with a retrained network, or a name of it: "
        f"{NAMED}. Pictures are read as those of its "
        "training were: scaled, cut and normalised. A line has the input and its K (3) most "
        "probable classes by name.",
        names=("runs",),
        flags=("--top", "--format", "--out"),
    ),
    "evaluate": CommandHelp(
        "measure a retrained network again, class by class",
        "nasrun evaluate RUN [DATA] [--json]",
        (
            ("nasrun evaluate outputs/2026-01-31/12-00-00-darts-egnas-s0", "on its test data"),
            ("nasrun evaluate RUN new/", "class folders"),
            ("nasrun evaluate RUN new.npz --json", "x_test, y_test"),
        ),
        "Accuracy, macro F1, precision and recall of each class, and which classes are taken for "
        "which. Numbers depend on nothing but the network and the data.",
        names=("runs",),
        flags=("--json",),
    ),
    "export": CommandHelp(
        "write a retrained network as a file that runs without nasrun",
        "nasrun export RUN [--format NAMES] [--out DIR]",
        (
            ("nasrun export outputs/2026-01-31/12-00-00-darts-egnas-s0", "as ONNX"),
            ("nasrun export RUN --format onnx,torch,python,int8", "all of them"),
        ),
        "NAMES are some of nasrun list exporters, with commas between. Each file takes raw values "
        "(pictures: 0 to 255), batches of any size, and returns logits. It is loaded in a fresh "
        "process without nasrun and compared with the original on test images; accuracy, size and "
        "latency are shown. What it needs besides: pip install -e '.[export]'.",
        group="exporter",
        names=("runs",),
        flags=("--format", "--out"),
    ),
    "compress": CommandHelp(
        "make a retrained network smaller by pruning whole channels",
        "nasrun compress RUN [--keep S] [--epochs N] [--format NAMES] [--out DIR]",
        (
            ("nasrun compress outputs/2026-01-31/12-00-00-macro_cnn-genetic-s0", ""),
            ("nasrun compress RUN --keep 0.7 --format onnx,int8", ""),
        ),
        "S (0.5) of the channels of each layer stay, those of the largest weights; N (5) "
        "epochs on the training set follow. The pruned network is written to DIR as nasrun export "
        "would; accuracy, size and latency before and after are shown, and kept in "
        "compressed.json. What it needs besides: pip install 'nasrun[pruning]'.",
        group="exporter",
        names=("runs",),
        flags=("--keep", "--epochs", "--format", "--out"),
    ),
    "family": CommandHelp(
        "cut networks of many sizes out of the supernet of a search",
        "nasrun family RUN [--members M] [--epochs N] [--tune T] [--compare K]",
        (
            ("nasrun family outputs/2026-01-31/12-00-00-nasbench201-random-s0", ""),
            ("nasrun family RUN --epochs 200 --tune 5", "nearer to trainings of their own"),
            ("nasrun export RUN/family/07 --format onnx,int8", ""),
        ),
        "RUN is a search on a supernet (last: the newest that kept its supernet; space=nasbench201 "
        "with evaluator=shared_weights, or a "
        "strategy on alphas). M (24) members are spread over the range of multiply-adds; the "
        "shared weights are trained on for them alone, N (60) epochs in all; each member takes "
        "its weights over, and measures the statistics of batch norm anew. T (0) epochs for each "
        "member alone bring it nearer to a training of its own, and K (3) members are trained from "
        "scratch too, so that the distance is known. RUN/family (or --out DIR) gets a folder "
        "each, for nasrun export, predict and evaluate, and family.json. A call that was "
        "interrupted goes on when it is typed again.",
        names=("runs",),
        flags=("--members", "--epochs", "--tune", "--compare", "--out"),
    ),
    "data": CommandHelp(
        "fetch, import, describe and verify benchmark tables",
        "nasrun data fetch NAME | import NAME FILE | describe|verify [WHAT]",
        (
            ("nasrun data fetch nasbench101", "half a GB, then imported"),
            ("nasrun data import nasbench201 nasbench201.npz", ""),
            ("nasrun data import imagenet16 FOLDER", "from its pickles"),
            ("nasrun data describe", "where tables are looked for"),
            ("nasrun data describe nasbench201", "what is in it"),
            ("nasrun data verify nasbench101", "takes a minute"),
        ),
        "NAME is a benchmark (nasrun list benchmarks), WHAT is a NAME or a file. import checks all "
        "that verify checks and puts the table into the cache folder; --force replaces the one "
        "that is there. FILE is an .npz file in the condensed form, a .csv file with one row per "
        "cell, or an official file; --out FILE keeps the table there, where space.file=FILE or "
        "evaluator.file=FILE finds it.\n\n"
        "nasrun data import genes my.csv --value acc unit=percent better=higher part=test makes a "
        "table of your own columns: each --value names a column of values and says what they are, "
        "--ignore COLUMN one that is neither, and the others are genes. space=genes searches it."
        "\n\n"
        "fetch asks the address of a benchmark's file (or --address URL), says how large it is, "
        "fetches it, and imports it; what broke off goes on when it is typed again. --sha256 SUM "
        "is compared; without it, and where none is published, the checks of the import count.\n\n"
        "nasrun data import imagenet16 FOLDER reads the folder of train_data_batch_1 to "
        "train_data_batch_10 and val_data, pickles too, with a reader of its own that runs "
        "nothing, and keeps the 120 classes for dataset=imagenet16.",
        words=(("fetch", "import", "describe", "verify"), ("imagenet16",)),
        group="benchmark",
        more=_benchmark_files,
        flags=("--force", "--address", "--sha256", "--value", "--ignore", "--out"),
    ),
    "explain": CommandHelp(
        "say what a key or an option is, can be, and is read by",
        "nasrun explain KEY|GROUP=OPTION|GROUP...",
        (
            ("nasrun explain strategy.xi", "range, default, paper"),
            ("nasrun explain strategy=egnas", "with all its keys"),
            ("nasrun explain budget", "a group"),
        ),
        "A key by its type, range, unit and default, the value of the paper where its comment "
        "gives one, the options that set it, and what reads it. An option by its keys. The last "
        "part of a key (xi) and the name of an option (egnas) will do where only one has it.",
    ),
    "list": CommandHelp(
        "list what can be chosen: strategies, spaces, datasets, ...",
        "nasrun list [KIND] [--config-dir DIR]",
        (
            ("nasrun list", "everything"),
            ("nasrun list strategies", "what strategy=... can be"),
        ),
        "Every folder of conf/ is a kind, in the singular or the plural. With --config-dir the "
        "options of your own folder are listed, too.",
    ),
}


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; usage: {self.usage}")


def argument_parser(command: str) -> argparse.ArgumentParser:
    """Make a parser for a command without Hydra; it raises `UsageError` in place of exiting."""
    return _Arguments(usage=COMMANDS[command].usage, add_help=False, allow_abbrev=False)
