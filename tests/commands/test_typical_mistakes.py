"""Mistakes of a first hour: one sentence each, none of it Hydra's, before torch is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.refusal import refused

REPOSITORY = str(Path(__file__).parents[2])
MISTAKES = {
    "search population=25": "population takes the name of an option (large, own, paper, small): "
    "type population.size=25",
    "search budget=5": "type budget.epochs=5",
    "search retrain=5": "type retrain.epochs=5",
    "search lr=0.1": "lr does not exist; did you mean retrain.learning_rate or ",
    "search epochs=3": "epochs does not exist; did you mean budget.epochs or retrain.epochs",
    "search lambda=25": "lambda does not exist; did you mean population.size or ",
    "search sigma=.1": "sigma does not exist; did you mean strategy.sigma?",
    "search zeta=1": "zeta does not exist; did you mean fitness.zeta or ",
    "search batch_size=32": "batch_size does not exist; did you mean dataset.batch_size or ",
    "search strategie=darts": "strategie does not exist; did you mean strategy?",
    "search --strategy egnas": "--strategy is no flag: type strategy=egnas",
    "search --seed=3": "--seed is no flag: type seed=3",
    "search egnas": "did you mean strategy=egnas",
    "search strategy=EGNAS": "strategy=EGNAS does not exist; did you mean egnas",
    "search dataset=pics/cats": "pictures is dataset=imagefolder dataset.root=pics/cats",
    "search genotype=darts_v2": "nasrun search has no genotype, nasrun retrain has it",
    "search device=gpu": "device=gpu must be auto, cpu, cuda or cuda:<n>",
    "search seed=x": "seed=x is not a whole number",
    "search seed=0,1": "add -m to run each of them",
    "retrain darts_v2": "did you mean genotype=darts_v2?",
    "serch": "did you mean search?",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_gets_one_sentence(words: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    text = refused(capsys, *words.split())
    assert MISTAKES[words] in text
    assert not any(word in text for word in ("Traceback", "ConfigCompos", "Config group override"))
    assert not list(tmp_path.iterdir())


def test_values_and_paths_are_told_before_torch_is_there(tmp_path) -> None:
    """All in one process; the words are those of mistakes that need the composed configuration."""
    program = (
        "import sys\n"
        "from nasrun.cli.main import main\n"
        "for words in (['strategy.sigma=-1'], ['retrain.epochs=-1'], ['strategy.momentum=2'],\n"
        "              ['dataset=npz', 'dataset.file=none.npz'],\n"
        "              ['dataset=imagefolder', 'dataset.root=none']):\n"
        "    try:\n"
        "        main(['search', *words])\n"
        "    except SystemExit as stop:\n"
        "        assert stop.code == 2, words\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    environment = {"PYTHONPATH": REPOSITORY, "PATH": ""}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path, text=True, capture_output=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("nasrun: ") == 5
