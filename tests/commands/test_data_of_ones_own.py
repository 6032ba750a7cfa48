"""`nasrun data import genes`: a table of one's own, from a file to what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasrun.cli.main import main
from tests.commands.test_data import fails


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no other place to look in."""
    monkeypatch.delenv("NASRUN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nasrun" / "tables"


def test_a_table_of_genes_is_imported_described_and_found(cache, tmp_path, capsys):
    rows = [f"{depth},{op},{10 * depth + bonus},{depth}" for depth in (1, 2)
            for op, bonus in (("conv", 5), ("pool", 0))]  # fmt: skip
    (tmp_path / "mine.csv").write_text("\n".join(["depth,op,acc,ms", *rows]))
    said = ["unit=percent", "better=higher", "part=test", "quantity=accuracy", "trainings=3"]
    words = ["genes", str(tmp_path / "mine.csv"), "--value", "acc", *said]
    main(["data", "import", *words, "--value", "ms", "unit=ms", "better=lower", "part=test"])
    assert capsys.readouterr().out == f"imported: {cache / 'genes.npz'}\n"
    main(["data", "describe", "genes"])
    text = capsys.readouterr().out
    assert "  rows      4\n" in text
    assert "  also for objective=table: objective.column=ms\n" in text
    assert (
        "acc: a search sees the mean test accuracy (the table has no validation column)\n" in text
    )
    assert "    values: accuracy, fraction, maximise; trainings behind each: 3\n" in text
    assert "    best test 25.0000%: depth=2, op=conv\n" in text
    assert "ms: a search sees the scaled ms on test data (the table" in text
    assert "    values: ms, ms, minimise; trainings behind each: the table does not say\n" in text
    assert "    best test ms 1 ms: depth=1, op=conv\n" in text
    main(["data", "verify", "genes"])
    assert "ok      rows" in capsys.readouterr().out
    code, error = fails(capsys, "import", *words[:2], "--value", "acc", "--force")
    assert (code, error.count("\n")) == (2, 1)
    assert "--value acc lacks unit= and better= and part=" in error
    code, error = fails(capsys, "import", *words, "--out", str(tmp_path / "mine.txt"))
    assert (code, "must be a file .npz" in error) == (2, True)
