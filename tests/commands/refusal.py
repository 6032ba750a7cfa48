"""What every mistake of a user must look like."""

from __future__ import annotations

import pytest

from nasrun.cli.main import main


def refused(capsys, *arguments: str) -> str:
    """The sentence on standard error, with exit code 2."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    error = capsys.readouterr().err
    assert stopped.value.code == 2, error
    assert error.startswith("nasrun: ")
    assert "Traceback" not in error
    return error
