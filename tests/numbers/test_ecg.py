"""Heart beats: what a packed file and PhysioNet records say, and that no patient is in two sets."""

from __future__ import annotations

import importlib.util
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nasrun.datasets import ecg_beats
from nasrun.datasets.ecg_beats import CLASSES, DS1, DS2, SYMBOLS
from nasrun.datasets.ecg_mitbih import load_ecg_mitbih
from nasrun.datasets.ecg_records import import_wfdb, read_records
from nasrun.datasets.signals import SignalAugmentation
from nasrun.errors import UsageError
from nasrun.protocols.data import Dataset
from nasrun.training.streams import apart, halves

REAL = Path(os.environ.get("NASRUN_DATA", "."), "ecg_mitbih_beats_small.npz")
needs_wfdb = pytest.mark.skipif(
    importlib.util.find_spec("wfdb") is None, reason="the package wfdb is not installed"
)


def load(file: Path, split: str = "inter_patient", **keys: object) -> Dataset:
    name = "ecg_mitbih" if split == "inter_patient" else f"ecg_mitbih_{split}"
    settings: dict[str, object] = {
        "name": name, "file": str(file), "split": split, "batch_size": 8, "limit": None, "shift": 2,
        "gain": 0.1, "cutout_length": 20, "balance": "none", "balance_strength": 1.0,
        "metric": "macro_f1",
    }  # fmt: skip
    return load_ecg_mitbih(**settings | keys)  # type: ignore[arg-type]


def packed(path: Path, records: tuple[int, ...], per_class: int = 4) -> Path:
    """Packed beats whose first sample tells record and place: `per_class` of each class."""
    labels = np.tile(np.repeat(np.arange(5), per_class), len(records))
    numbers = np.repeat(records, 5 * per_class)
    rng = np.random.default_rng(0)
    np.savez(
        path,
        first=1024 + np.arange(len(labels)) % 900,
        delta=rng.integers(-3, 4, (len(labels), 259), dtype=np.int8),
        label=labels,
        record=numbers,
    )
    return path


def raw(dataset: Dataset, part: str) -> np.ndarray:
    split = getattr(dataset, part)
    count = len(split)
    return next(split.batches(torch.arange(count), count, torch.device("cpu")))[0].numpy()


def groups(split: object) -> set[int]:
    return set(split.groups_N.tolist())  # type: ignore[attr-defined]


def test_packed_units_are_millivolts(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "one.npz", first=[1124], delta=np.full((1, 259), -2, np.int8), label=[1],
        record=[100],
    )  # fmt: skip
    beats = ecg_beats.read_packed(tmp_path / "one.npz")
    assert beats.signals_NL[0] == pytest.approx(0.5 - 0.01 * np.arange(260))
    assert CLASSES[beats.labels_N[0]] == "S"


def test_no_patient_is_in_two_sets(tmp_path: Path) -> None:
    """Of all 44 records: DS1 and DS2 share none, and no patient; nor do the parts of a search."""
    dataset = load(packed(tmp_path / "beats.npz", (*DS1, *DS2), per_class=2))
    assert len(set(DS1)) == len(set(DS2)) == 22
    assert not set(DS1) & set(DS2)
    assert groups(dataset.train) == set(DS1) - {201}  # the man of 202, which is tested
    assert len(dataset.test) == 22 * 10
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for train, validation in (halves(dataset.train, rng), apart(dataset.train, 0.2, rng)):
            assert not groups(train) & groups(validation)
            assert groups(train) | groups(validation) == groups(dataset.train)
            assert len(train) + len(validation) == len(dataset.train)
    assert len(groups(validation)) == 4  # a fifth of 21
    assert any("202 of the test set is the same patient" in note for note in dataset.notes)


@pytest.mark.skipif(not REAL.is_file(), reason="NASRUN_DATA does not name the real beats")
def test_no_patient_is_in_two_sets_of_the_real_beats() -> None:
    dataset = load(REAL)
    with np.load(REAL) as file:
        assert tuple(file["ds1"]) == DS1
        assert tuple(file["ds2"]) == DS2
        expected = np.isin(file["record"], DS2).sum()
    assert len(dataset.test) == expected == 3295
    assert groups(dataset.train) == set(DS1) - {201}
    for seed in range(5):  # the few beats of class Q are on both sides as well
        train, validation = halves(dataset.train, np.random.default_rng(seed))
        assert not groups(train) & groups(validation)
        assert set(train.labels_N.tolist()) == set(validation.labels_N.tolist()) == set(range(5))


def test_within_patients_the_split_is_by_beat_and_every_record_of_a_run_says_so(
    tmp_path: Path,
) -> None:
    file = packed(tmp_path / "beats.npz", (100, 101, 102, 201), per_class=5)
    dataset = load(file, "intra_patient")
    assert dataset.name == "ecg_mitbih_intra_patient"
    assert (len(dataset.train), len(dataset.test)) == (80, 20)
    assert torch.bincount(dataset.test.labels_N).tolist() == [4] * 5
    assert any("every patient is in training and in test" in note for note in dataset.notes)
    both = np.concatenate([raw(dataset, "train"), raw(dataset, "test")])
    assert len(np.unique(both, axis=0)) == 100
    with pytest.raises(UsageError, match="type dataset=ecg_mitbih_intra_patient"):
        load(file, "intra_patient", name="ecg_mitbih")


def test_a_limit_keeps_beats_of_all_patients(tmp_path: Path) -> None:
    dataset = load(packed(tmp_path / "beats.npz", (101, 106, 108, 100), per_class=20), limit=100)
    assert torch.bincount(dataset.train.labels_N).tolist() == [20] * 5
    assert groups(dataset.train) == {101, 106, 108}


def test_augmentation_of_signals_one_by_one() -> None:
    changes = SignalAugmentation(shift=3, gain=0.5, cutout_length=4)
    signals_BCL = torch.arange(2 * 2 * 9.0).view(2, 2, 9)
    draws = changes.draw(2, (9,), torch.Generator().manual_seed(3), cutout=True)
    fill = torch.tensor([-1.0, -2.0])
    found = changes.apply(signals_BCL, draws, fill)
    for place in range(2):
        shift, factor, centre = draws[:, place].tolist()
        assert -3 <= shift <= 3
        assert 0.5 <= factor <= 1.5
        for channel in range(2):
            for sample in range(9):
                source = min(max(sample + int(shift), 0), 8)
                value = float(signals_BCL[place, channel, source]) * factor
                if int(centre) - 2 <= sample < int(centre) + 2:
                    value = float(fill[channel])
                assert float(found[place, channel, sample]) == pytest.approx(value)


def remove(*names: str) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda arrays: [arrays.pop(name) for name in names] and None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (remove("first", "delta"), "there is no first and no delta in it .it has label, record"),
        (lambda a: a.update(delta=a["delta"][:, :9]), r"delta has the shape \(60, 9\); a beat has"),
        (lambda a: a.update(label=a["label"] + 1), "labels go from 1 to 5"),
        (lambda a: a.update(label=a["label"] * 1.0), "label holds float64; it must hold whole"),
        (lambda a: a.update(record=a["record"][:9]), "must have one entry per beat"),
        (
            lambda a: a.update(record=a["record"] * 0 + 101),
            "no beat to test on .of a record of DS2",
        ),
        (
            lambda a: a.update(record=a["record"] * 0 + 100),
            "fewer than two training beats of class",
        ),
    ],
)
def test_a_file_that_holds_no_beats_is_refused_in_a_sentence(
    change: Callable[[dict[str, np.ndarray]], None], sentence: str, tmp_path: Path
) -> None:
    file = packed(tmp_path / "beats.npz", (100, 101, 106))
    with np.load(file) as arrays:
        changed = dict(arrays)
    change(changed)
    np.savez(file, **changed)
    with pytest.raises(UsageError, match=sentence) as error:
        load(file)
    assert len(str(error.value).splitlines()) == 1


def test_one_patient_cannot_be_held_out(tmp_path: Path) -> None:
    dataset = load(packed(tmp_path / "beats.npz", (101, 100)))
    with pytest.raises(UsageError, match="all training inputs belong to one group"):
        halves(dataset.train, np.random.default_rng(0))


def write_record(
    folder: Path, number: int, *, leads: tuple[str, ...] = ("MLII", "V5"), fs: float = 360.0
) -> np.ndarray:
    """A record of 2,000 samples with a beat of every symbol, and notes that are no beats."""
    wfdb = import_wfdb()
    warnings.simplefilter("ignore")  # of its own use of pandas; pytest puts the filters back
    rng = np.random.default_rng(number)
    signal_TC = (rng.integers(-400, 400, (2000, len(leads))) / 200.0).round(3)
    wfdb.wrsamp(
        str(number), fs=fs, units=["mV"] * len(leads), sig_name=list(leads), p_signal=signal_TC,
        fmt=["212"] * len(leads), adc_gain=[200.0] * len(leads), baseline=[0] * len(leads),
        write_dir=str(folder),
    )  # fmt: skip
    symbols = [symbol for name in CLASSES for symbol in SYMBOLS[name]] * 2
    places = np.linspace(20, 1980, len(symbols)).astype(int)
    wfdb.wrann(
        str(number), "atr", np.append(places, 1990), symbol=[*symbols, "+"],
        aux_note=[""] * len(symbols) + ["(N"], write_dir=str(folder),
    )  # fmt: skip
    return signal_TC


@needs_wfdb
def test_beats_are_cut_out_of_records(tmp_path: Path) -> None:
    signals = {number: write_record(tmp_path, number) for number in (100, 101)}
    signals[106] = write_record(tmp_path, 106, leads=("V5", "V2"))
    beats = read_records(tmp_path)
    symbols = [symbol for name in CLASSES for symbol in SYMBOLS[name]] * 2
    expected = [CLASSES.index(name) for name in CLASSES for _ in SYMBOLS[name]] * 2
    assert beats.labels_N.tolist() == expected * 3  # and no beat of the note
    assert beats.records_N.tolist() == [n for n in (100, 101, 106) for _ in expected]
    places = np.linspace(20, 1980, len(symbols)).astype(int)
    for row, record in ((0, 100), (len(expected) - 1, 100), (3, 101), (5, 106)):
        at = places[row]
        padded = np.pad(signals[record][:, 0], 300, mode="edge")
        window = padded[300 + at - 100 : 300 + at + 160]
        start = [100, 101, 106].index(record) * len(expected)
        assert beats.signals_NL[start + row] == pytest.approx(window, abs=1e-6)
    assert "record 106 has no lead MLII: its first, V5, is read" in beats.notes
    dataset = load(tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (2 * len(expected), len(expected))
    assert any("the folder has no record 102, 103" in note for note in dataset.notes)


def damage_header(folder: Path) -> None:
    (folder / "101.hea").write_text("this is no record\n")


def climb(folder: Path) -> None:
    header = (folder / "101.hea").read_text()
    (folder / "101.hea").write_text(header.replace("101.dat", "../101.dat"))


def claim(folder: Path) -> None:
    header = (folder / "101.hea").read_text()
    (folder / "101.hea").write_text(header.replace(" 2000", " 2000000000"))


@needs_wfdb
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: (f / "101.atr").unlink(), "101 has no annotations: copy 101.atr beside 101.hea"),
        (
            lambda f: (f / "101.atr").write_bytes(b""),
            "record 101 (cannot be read by wfdb|has no an)",
        ),
        (lambda f: (f / "101.dat").write_bytes(b""), "record 101 "),
        (lambda f: (f / "101.dat").unlink(), "names the file '101.dat', which is not beside"),
        (damage_header, "record 101 (cannot be read by wfdb|has no signals)"),
        (climb, "record 101 (cannot be read by wfdb|names the file '../101.dat')"),
        (claim, "claims 2,000,000,000 samples, which are not in its file"),
        (lambda f: write_record(f, 101, fs=250.0), "has 250 samples per second, and beats are cut"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused_in_a_sentence(
    change: Callable[[Path], object], sentence: str, tmp_path: Path
) -> None:
    write_record(tmp_path, 100)
    write_record(tmp_path, 101)
    change(tmp_path)
    with pytest.raises(UsageError) as error:
        read_records(tmp_path)
    assert re.search(sentence, str(error.value))
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("nothing here")
    with pytest.raises(UsageError, match=r"no record of the MIT-BIH .* has no header \(.hea\) at"):
        load(tmp_path)
    with pytest.raises(UsageError, match=r"no .npz file of packed beats .* or a folder of Physio"):
        load(tmp_path / "note.txt")
