"""The dispatcher: help, flags, exit codes, and one sentence for each of Hydra's errors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from nasrun.cli import help
from nasrun.cli import main as cli
from nasrun.config import catalogue
from nasrun.config.commands import COMMANDS
from nasrun.config.flags import flags_first
from nasrun.errors import RunError, UsageError
from nasrun.terminal import console

REPOSITORY = Path(__file__).parents[2]
WITHOUT_HEAVY_MODULES = """
import sys
for name in ("torch", "hydra", "omegaconf", "matplotlib", "tensorboard"):
    sys.modules[name] = None  # an import of it fails
from nasrun.cli.main import main
main(sys.argv[1:])
"""


def run_light(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The program in a process that cannot import torch, Hydra or matplotlib."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_HEAVY_MODULES, *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code and the message of a command that must fail."""
    with pytest.raises(SystemExit) as caught:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    first_line = re.compile(r"(search|retrain|check): .*\n")  # what was typed; see cli/first_line
    assert captured.out == "" or first_line.fullmatch(captured.out)
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.err


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_bare_call_lists_every_command(arguments: list[str], capsys) -> None:
    cli.main(arguments)
    text = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name}" in text
        assert command.purpose in text
    assert "outputs/<date>/" in text


@pytest.mark.parametrize("command", ["search", "retrain"])
def test_what_would_run_is_shown_without_torch(command: str) -> None:
    program = (
        "import sys; sys.modules.update(torch=None, matplotlib=None)\n"
        f"from nasrun.cli.main import main; main(['{command}', '--cfg', 'job'])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\nseed: 0\n" in shown.stdout


def test_every_command_has_a_module() -> None:
    folder = Path(help.__file__).parents[1] / "commands"
    assert {path.stem for path in folder.glob("*.py")} >= set(COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--version"],
        ["list"],
        ["explain", "strategy.xi"],
        *([name, "--help"] for name in COMMANDS),
    ],
    ids=" ".join,
)
def test_light_commands_import_neither_torch_nor_hydra(arguments: list[str]) -> None:
    finished = run_light(*arguments)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_the_terminal(name: str) -> None:
    page = help.page(name, catalogue.conf_dir())
    wide = [line for line in [*page.splitlines(), *help.overview().splitlines()] if len(line) > 80]
    # The folder of the installation may be long; nothing else is.
    assert [line for line in wide if str(catalogue.conf_dir()) not in line] == []


@pytest.mark.parametrize("name", [name for name, about in COMMANDS.items() if about.config])
def test_help_shows_groups_options_and_defaults(name: str) -> None:
    root = catalogue.conf_dir()
    page = help.page(name, root)
    composition = catalogue.compose(COMMANDS[name].config, root)
    for group, default in composition.choices.items():
        names = [o.label for o in catalogue.options(group, root, composition.choices)]
        assert not names or f"\n{group}=..." in page
        assert all(f"\n  {option}" in page for option in names)
        assert default is None or f"{group}=... (default: {default})" in page
    shown = [key for key in COMMANDS[name].keys if f"\n  {key}=" in page]
    assert shown == list(COMMANDS[name].keys)


def test_help_flag_anywhere_shows_help(capsys) -> None:
    cli.main(["search", "-m", "-h", "seed"])
    assert capsys.readouterr().out.startswith("nasrun search: ")


def test_help_follows_the_words(capsys) -> None:
    cli.main(["search", "strategy=egnas,dclenas", "-m", "--help", "lr=1", "--from", "last"])
    page = capsys.readouterr().out
    assert page.startswith("nasrun search: ")
    for line in (
        "  strategy.xi=0.6 ",
        "strategy=dclenas: DCL-ENAS",
        "  strategy.num_infill=5 ",
        "there is no key, option or group 'lr'; did you mean retrain.learning_rate",
    ):
        assert f"\n{line}" in page
    assert "Flags:" not in page
    assert [line for line in page.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        (["a=1", "-m", "b=1,2"], ["--multirun", "a=1", "b=1,2"]),
        (["a=1", "-c", "job", "b=2"], ["--cfg=job", "a=1", "b=2"]),
        (["a=1", "--cfg=job", "-p", "strategy", "--resolve"],
         ["--cfg=job", "--package=strategy", "--resolve", "a=1"]),
        (["x=1", "-i", "y=2"], ["--info=all", "x=1", "y=2"]),
        (["-i", "defaults", "y=2"], ["--info=defaults", "y=2"]),
        (["x=-1", "-cd", "my conf"], ["--config-dir=my conf", "x=-1"]),
        (["~name", "+a=1"], ["~name", "+a=1"]),
        (["genotype=|a~0|"], ["genotype='|a~0|'"]),
        (["genotype=Genotype(normal=['a'])"], [r"genotype='Genotype(normal=[\'a\'])'"]),
        (["genotype=run/folder"], ["genotype=run/folder"]),
        (["strategy.x={a:1}"], ["strategy.x={a:1}"]),
    ],
    ids=str,
)  # fmt: skip
def test_flags_come_before_overrides(given: list[str], ordered: list[str]) -> None:
    assert flags_first(given) == ordered


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--multirum"], "did you mean --multirun"),
        (["--experimental-rerun", "x.pickle"], "unknown flag --experimental-rerun"),
        (["-c"], "--cfg needs a value: job, hydra, all"),
        (["-c", "-m"], "--cfg needs a value"),
        (["-c", "jobb"], "--cfg jobb: choose from job, hydra, all"),
        (["-m", "-c", "job"], "--multirun and --cfg exclude each other"),
        (["-m=3"], "--multirun takes no value"),
        (["--resolve"], "--resolve goes with --cfg job"),
        (["=3"], "'=3' is not understood"),
    ],
    ids=str,
)
def test_wrong_flags(given: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        flags_first(given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serch"], "nasrun: unknown command 'serch': did you mean search?\n"),
        (["search", "strategy=egnass"], "nasrun: strategy=egnass does not exist; did you mean "),
        (["search", "seed=0", "-m", "strategy=egnas,egnass"], "nasrun: strategy=egnass does not"),
        (["search", "fitness.zetta=1"],
         "nasrun: fitness.zetta does not exist (with fitness=balanced); did you mean fitness.zeta"),
        (["search", "fitnes=paper"], "nasrun: fitnes does not exist; did you mean fitness?"),
        (["search", "fitnes.zeta=1"], "nasrun: fitnes.zeta does not exist; did you mean fitness.z"),
        (["search", "unheard.of=1"], "nasrun: unheard.of does not exist; choose from budget, "),
        (["search", "hydra.runn=1"], "nasrun: hydra.runn does not exist; nasrun search --cfg "),
        (["search", "fitness.zeta=abc"], "nasrun: fitness.zeta=abc is not a number\n"),
        (["search", "seed=1.5"], "nasrun: seed=1.5 is not a whole number\n"),
        (["search", "a b"], "nasrun: 'a b' is not understood: overrides are key=value or "),
        (["search", "search"], "nasrun: 'search' is not understood: "),
        (["search", "seed=0,1"], "nasrun: seed=0,1 has several values: add -m to run each of "),
        (["search", "-cn", "nope"], "nasrun: Cannot find primary config 'nope'."),
        (["search", "-cd", "nope"], "nasrun: Additional config directory '"),
        (["retrain", "strategy=egnas"],
         "nasrun: nasrun retrain has no group strategy; choose from dataset, experiment, network, "
         "retrain, space, tracker\n"),
        (["retrain", "genotyp=a"], "nasrun: genotyp does not exist; did you mean genotype?\n"),
    ],
    ids=str,
)  # fmt: skip
def test_mistakes_are_one_sentence_and_exit_with_2(
    arguments: list[str], message: str, capsys, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = fails(capsys, *arguments)
    assert code == 2
    assert text.startswith(message)
    assert text.count("\n") == 1
    # Hydra notes a sweep before it composes the jobs; nothing else is written.
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"multirun.yaml"}


def raising(error: BaseException) -> ModuleType:
    """A stand-in for a command's module."""

    def main(arguments: list[str]) -> None:
        raise error

    module = ModuleType("nasrun.commands.list")
    module.main = main
    return module


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("so not"), 2, "nasrun: so not\n"),
        (RunError("disk full"), 1, "nasrun: disk full\n"),
        (KeyboardInterrupt(), 130, "nasrun: interrupted\n"),
    ],
    ids=str,
)
def test_exit_codes(error: BaseException, code: int, message: str, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nasrun.commands.list", raising(error))
    assert fails(capsys, "list") == (code, message)


def test_our_own_faults_keep_their_traceback(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nasrun.commands.list", raising(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main(["list"])


def test_a_reader_that_goes_away_is_no_error() -> None:
    program = [sys.executable, "-m", "nasrun", "list"]
    with subprocess.Popen(
        program, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_plain_table_is_aligned() -> None:
    drawn = console.plain_table("two jobs", ["job", "acc %"], [["0", "98.5"], ["10", "100.00"]])
    assert drawn.splitlines() == ["two jobs", "job   acc %", "0      98.5", "10   100.00"]
