"""Find the command, call it, and turn failures into messages and exit codes.

Neither torch nor Hydra is imported here, so that help, listing and completion answer at once.
Exit codes: 0 done, 1 a failure, 2 the user's mistake, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Iterator, Sequence

from nasrun import __version__
from nasrun.cli import completion, first_line, help
from nasrun.compute import torchrun
from nasrun.config import catalogue, outside, own_folder
from nasrun.config.commands import COMMANDS
from nasrun.config.flags import flags_first
from nasrun.errors import RunError, UsageError, closest, is_of_hydra
from nasrun.runs import run_names
from nasrun.terminal import console
from nasrun.terminal.streams import steady

HELP_FLAGS = ("-h", "--help")
OF_MANY = ("search", "retrain", "resume")  # what torchrun can start
PATIENCE_S = 5.0


def main(argv: list[str] | None = None) -> None:
    """Run `nasrun` with the given arguments (default: those of the process).

    Returns after success and raises `SystemExit` with the exit code otherwise; a fault of ours
    escapes as it is, and Python shows its traceback and exits with 1.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with steady() as failures:
        _in_words(arguments)
    if failures:
        reason = failures[0].strerror
        console.complain(f"standard output cannot be written: {reason}")
        if not arguments or arguments[0] not in OF_MANY:  # whose outcome stands in a folder
            raise SystemExit(1)


def _in_words(arguments: Sequence[str]) -> None:
    """Run the command; turn every failure that is not ours into a message and an exit code."""
    try:
        with _only_the_first_speaks():
            _dispatch(arguments)
        sys.stdout.flush()  # a reader that went away (`| head`) is noticed here, not at exit
    except UsageError as error:
        _exit(2, str(error))
    except RunError as error:
        _exit(1, str(error))
    except KeyboardInterrupt as error:
        _exit(130, str(error) or "interrupted")
    except BrokenPipeError:
        # Python flushes standard output once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if not is_of_hydra(error):
            raise
        from nasrun.config.hydra_errors import sentence

        message = sentence(error, arguments)
        if message is None:
            raise
        _exit(2, str(UsageError(message)))


@contextlib.contextmanager
def _only_the_first_speaks() -> Iterator[None]:
    """Silence all but the first of the processes that torchrun has started.

    How one ends, each says itself.
    """
    with contextlib.ExitStack() as stack:
        if torchrun.rank() > 0:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


def _exit(code: int, message: str) -> None:
    if torchrun.rank() > 0:
        # Where the first process has failed too, torchrun ends this one before it repeats that.
        time.sleep(PATIENCE_S)
        if code == 130:
            raise SystemExit(code)
        message = f"process {torchrun.rank()}: {message}"
    console.complain(message)
    raise SystemExit(code)


def _dispatch(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in HELP_FLAGS:
        console.say(help.overview())
    elif arguments[0] == "--version":
        console.say(f"nasrun {__version__}")
    elif arguments[0] in ("-sc", "--shell-completion"):
        completion.main(arguments[1:])
    else:
        _run(arguments[0], arguments[1:])


def _run(name: str, arguments: Sequence[str]) -> None:
    command = COMMANDS.get(name)
    if command is None:
        raise UsageError(f"unknown command '{name}': {closest(name, COMMANDS)}")
    arguments = outside.taken(arguments, catalogue.conf_dir())
    if any(word in HELP_FLAGS for word in arguments):
        with own_folder.looked_into(own_folder.named(arguments)):
            console.say(help.page(name, catalogue.conf_dir(), arguments))
        return
    if torchrun.num_processes() > 1 and name not in OF_MANY:
        raise UsageError(f"nasrun {name} needs one process only: leave torchrun out")
    ordered = list(arguments)
    if command.config:
        ordered = flags_first(arguments)
        if torchrun.num_processes() > 1 and "--from=last" in ordered:  # what the first has begun
            raise UsageError("--from last can be another run for each process: type its folder")
        ordered = run_names.in_words(name, ordered)
        _begin(name, ordered)
    module = importlib.import_module(f"nasrun.commands.{name}")
    module.main(ordered)


def _begin(name: str, words: Sequence[str]) -> None:
    """Give the first sign of life."""
    line = first_line.of(name, COMMANDS[name], words, catalogue.conf_dir())
    if line:
        console.say(line)
        sys.stdout.flush()
