"""Load the heart beats of the MIT-BIH Arrhythmia Database, as a classification into five classes.

An input is one beat of one lead, 260 samples at 360 Hz around its R peak, in millivolts.

Deviation: records 201 and 202 are of one man, and the split of de Chazal et al. (2004) has one in
either set. Record 201 is left out of the training set here, so that no patient is in both; the test
set is the published one.

Shapes: N beats, L samples.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from nasrun.datasets import ecg_beats
from nasrun.datasets.arrays import ArrayDataset
from nasrun.datasets.ecg_beats import CLASSES, DS1, DS2, SAME_PATIENT, Beats
from nasrun.datasets.ecg_records import read_records
from nasrun.datasets.signals import SignalAugmentation
from nasrun.errors import UsageError
from nasrun.protocols.data import Balance, BalanceKind, Dataset, MetricName
from nasrun.protocols.settings import BatchSize, Fraction, NumImages, Place, Probability, Samples

FILE = "ecg_mitbih_beats.npz"  # in the folder NASRUN_DATA
TEST_SHARE = 0.2  # of the beats of each class, of the intra-patient split


def load_ecg_mitbih(
    *,
    name: str,
    file: Place | None,
    split: Literal["inter_patient", "intra_patient"],
    batch_size: BatchSize,
    limit: NumImages | None,
    shift: Samples,
    gain: Fraction,
    cutout_length: Samples,
    balance: BalanceKind,
    balance_strength: Probability,
    metric: MetricName,
) -> Dataset:
    """Load signals_NCL, float32, 1 x 260.

    Between patients (`inter_patient`) the training set is DS1 and the test set DS2 of de Chazal et
    al. (2004), and validation holds out whole patients of DS1. Within patients (`intra_patient`)
    beats of all records are dealt at random, so that every patient is in both sets.

    Args:
        file: packed beats (.npz), or a folder of PhysioNet records; `None` takes those in the
            folder NASRUN_DATA.
        shift, gain, cutout_length: see `SignalAugmentation`.
        balance, balance_strength: see `protocols.data.Balance`.
        metric: what a search maximises, unless it is told otherwise.

    Raises:
        UsageError: names what is wrong with the file.
    """
    _require_marked(name, split)
    path = _packed() if file is None else Path(file).expanduser()
    beats = read_records(path) if path.is_dir() else ecg_beats.read_packed(path)
    between = split == "inter_patient"
    train_M, test_M = _between_patients(beats) if between else _within_patients(beats)
    # in an order of chance, so that a limit keeps beats of all patients
    train_M = np.random.default_rng(0).permutation(train_M)
    if problem := _fault(beats, train_M, test_M):
        raise UsageError(f"dataset.file={path}: {problem}")
    return ArrayDataset(
        name=name,
        train=(beats.signals_NL[train_M, None], beats.labels_N[train_M]),
        test=(beats.signals_NL[test_M, None], beats.labels_N[test_M]),
        num_classes=len(CLASSES),
        batch_size=batch_size,
        limit=limit,
        augmentation=SignalAugmentation(shift, gain, cutout_length),
        class_names=CLASSES,
        counted=True,
        balance=Balance(balance, balance_strength),
        metric=metric,
        train_groups=beats.patients_N[train_M] if between else None,
        notes=[*_notes(beats, between), *beats.notes],
    )


def _require_marked(name: str, split: str) -> None:
    """Refuse a split that the name in the records of a run does not say."""
    option = "ecg_mitbih" if split == "inter_patient" else f"ecg_mitbih_{split}"
    if name != option:
        raise UsageError(
            f"dataset.split={split} is dataset={option}, so that every record of a run says which "
            f"split it used: type dataset={option} and leave dataset.split out"
        )


def _packed() -> Path:
    folder = os.environ.get("NASRUN_DATA")
    path = Path(folder or ".", FILE)
    if folder and path.is_file():
        return path
    looked = f"no {path}" if folder else "NASRUN_DATA is not set"
    raise UsageError(
        f"dataset.file=null: there are no beats ({looked}): say where packed beats (.npz) or the "
        "folder of PhysioNet records is (https://physionet.org/content/mitdb/1.0.0/)"
    )


def _between_patients(beats: Beats) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of DS1 without the patients that DS2 has, and those of DS2."""
    tested = [SAME_PATIENT.get(record, record) for record in DS2]
    return beats.of([record for record in DS1 if record not in tested]), beats.of(DS2)


def _within_patients(beats: Beats) -> tuple[np.ndarray, np.ndarray]:
    """Deal the beats of each class at random, always alike."""
    rng = np.random.default_rng(0)
    test = []
    for label in range(len(CLASSES)):
        places_M = rng.permutation(np.flatnonzero(beats.labels_N == label))
        test.append(places_M[: round(TEST_SHARE * len(places_M))])
    test_M = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(beats.labels_N)), test_M), test_M


def _fault(beats: Beats, train_M: np.ndarray, test_M: np.ndarray) -> str | None:
    """Say why there is nothing to train or to test on, if there is not."""
    if len(test_M) == 0:
        return "there is no beat to test on (of a record of DS2)"
    counts_K = np.bincount(beats.labels_N[train_M], minlength=len(CLASSES))
    rare = [name for name, count in zip(CLASSES, counts_K, strict=True) if count < 2]
    if rare:
        return (
            f"there are fewer than two training beats of class {' and '.join(rare)}: a search "
            "needs two of each (training, validation)"
        )
    return None


def _notes(beats: Beats, between: bool) -> Iterator[str]:
    if not between:
        yield (
            "warning: the intra-patient split: every patient is in training and in test, so that "
            "figures say nothing of new patients, and compare with no inter-patient ones"
        )
    elif len(beats.of([*SAME_PATIENT.values()])):
        yield "record 201 is left out of training, since 202 of the test set is the same patient"
