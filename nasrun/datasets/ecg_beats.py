"""Hold heart beats of the MIT-BIH Arrhythmia Database: their classes, patients and packed files.

Sources: Moody, Mark, The impact of the MIT-BIH Arrhythmia Database, IEEE EMB 20(3), 2001; the five
classes of ANSI/AAMI EC57; the inter-patient split of de Chazal, O'Dwyer, Reilly, IEEE TBME 51(7),
2004. Shapes: N beats, L samples of a beat, K classes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasrun.errors import UsageError
from nasrun.storage import npz_file

CLASSES = ("N", "S", "V", "F", "Q")
SYMBOLS = {  # of annotations -> AAMI class; all other annotations are no beats
    "N": ("N", "L", "R", "e", "j"),
    "S": ("A", "a", "J", "S"),
    "V": ("V", "E"),
    "F": ("F",),
    "Q": ("/", "f", "Q"),
}
RATE_HZ = 360
BEFORE, AFTER = 100, 160  # samples before the R peak, and from it on
GAIN, BASELINE = 200.0, 1024  # packed values: units per millivolt, and that of 0 mV

DS1 = (101, 106, 108, 109, 112, 114, 115, 116, 118, 119, 122,
       124, 201, 203, 205, 207, 208, 209, 215, 220, 223, 230)  # fmt: skip
DS2 = (100, 103, 105, 111, 113, 117, 121, 123, 200, 202, 210,
       212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234)  # fmt: skip
PACED = (102, 104, 107, 217)  # by a pacemaker; in neither set, as AAMI recommends
RECORDS = tuple(sorted((*DS1, *DS2, *PACED)))
SAME_PATIENT = {202: 201}  # two records of one man, in DS2 and in DS1 (the database's directory)
PACKED = ("first", "delta", "label", "record")  # what a packed file must have


@dataclass(frozen=True)
class Beats:
    """Beats of some records, in the order of the records and of time.

    `signals_NL` are millivolts, float32; `labels_N` index `CLASSES`; `records_N` are the numbers of
    the records; `notes` what a person should know.
    """

    signals_NL: np.ndarray
    labels_N: np.ndarray
    records_N: np.ndarray
    notes: Sequence[str] = ()

    @property
    def patients_N(self) -> np.ndarray:
        """Return a number per patient: the record, but for the man who has two."""
        patients_N = self.records_N.copy()
        for record, first in SAME_PATIENT.items():
            patients_N[self.records_N == record] = first
        return patients_N

    def of(self, records: Sequence[int]) -> np.ndarray:
        """Return the places of the beats of some records."""
        return np.flatnonzero(np.isin(self.records_N, records))


def read_packed(path: Path) -> Beats:
    """Read a file of packed beats: `first` and `delta`, the differences from sample to sample.

    Raises:
        UsageError: the file is none.
    """
    where = f"dataset.file={path}"
    try:
        arrays = npz_file.read_all(path)
    except npz_file.UNREADABLE as error:
        reason = textwrap.shorten(str(error) or type(error).__name__, 120)
        raise UsageError(
            f"{where}: this is no .npz file of packed beats ({reason}); give one, or a folder of "
            "PhysioNet records (.hea, .dat and .atr)"
        ) from None
    missing = [name for name in PACKED if name not in arrays]
    if missing:
        has = textwrap.shorten(", ".join(arrays), 120, placeholder=" ...") or "nothing"
        raise UsageError(
            f"{where}: there is no {' and no '.join(missing)} in it (it has {has}); packed beats "
            f"have {', '.join(PACKED)}"
        )
    first_N, delta_NM, labels_N, records_N = (arrays[name] for name in PACKED)
    if problem := _fault(first_N, delta_NM, labels_N, records_N):
        raise UsageError(f"{where}: {problem}")
    units_NL = np.empty((len(first_N), BEFORE + AFTER), np.float32)  # whole numbers, so exact
    units_NL[:, 0] = first_N
    np.cumsum(delta_NM, axis=1, dtype=np.float32, out=units_NL[:, 1:])
    units_NL[:, 1:] += units_NL[:, :1]
    units_NL -= BASELINE
    units_NL /= GAIN
    return Beats(units_NL, labels_N.astype(np.int64), records_N.astype(np.int64))


def _fault(
    first_N: np.ndarray, delta_NM: np.ndarray, labels_N: np.ndarray, records_N: np.ndarray
) -> str | None:
    """Say what is wrong with packed arrays, if anything is."""
    for name, array in zip(PACKED, (first_N, delta_NM, labels_N, records_N), strict=True):
        if array.dtype.kind not in "ui":
            return f"{name} holds {array.dtype}; it must hold whole numbers"
    length = BEFORE + AFTER - 1
    if delta_NM.ndim != 2 or delta_NM.shape[1] != length:
        return f"delta has the shape {delta_NM.shape}; a beat has {length} differences"
    counts = {len(first_N), len(delta_NM), len(labels_N), len(records_N)}
    flat = first_N.ndim == labels_N.ndim == records_N.ndim == 1
    if len(counts) > 1 or not flat or len(first_N) == 0:
        return f"{', '.join(PACKED)} must have one entry per beat, and there must be beats"
    if labels_N.min() < 0 or labels_N.max() >= len(CLASSES):
        return f"labels go from {labels_N.min()} to {labels_N.max()}, not from 0 to 4 ({CLASSES})"
    return None
