"""Cut heart beats out of a folder of PhysioNet records: `.hea`, `.dat` and `.atr` files.

The package `wfdb` reads them. Shapes: T samples of a record, N beats, L samples of a beat.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasrun.datasets.ecg_beats import AFTER, BEFORE, CLASSES, RATE_HZ, RECORDS, SYMBOLS, Beats
from nasrun.errors import UsageError, raise_together

LEAD = "MLII"  # the lead that all records but two have
BITS = 64  # at most, of one sample: what a header claims is compared with the size of its file
# What reading a damaged or hostile record can raise in wfdb, which checks little.
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    TypeError,
    ValueError,
)


def read_records(folder: Path, records: Sequence[int] = RECORDS) -> Beats:
    """Read those of some records that the folder has.

    Raises:
        UsageError: wfdb is not installed, or names all records that cannot be read.
    """
    there = [record for record in records if (folder / f"{record}.hea").is_file()]
    if not there:
        found = sorted(path.stem for path in folder.glob("*.hea"))
        has = f"records {', '.join(found[:5])}, ..." if found else "no header (.hea) at all"
        raise UsageError(
            f"dataset.file={folder}: there is no record of the MIT-BIH Arrhythmia Database (100 to "
            f"234) in this folder; it has {has}"
        )
    signals, labels, numbers, problems, notes = [], [], [], list[str](), list[str]()
    for record in there:
        try:
            signals_NL, labels_N, note = _beats(folder, record)
        except UsageError as error:
            problems += error.problems
            continue
        signals.append(signals_NL)
        labels.append(labels_N)
        numbers.append(np.full(len(labels_N), record))
        notes += [note] * bool(note)
    raise_together(problems)
    missing = [str(record) for record in records if record not in there]
    if missing:
        notes.append(f"warning: the folder has no record {', '.join(missing)}")
    signals_NL, labels_N, records_N = map(np.concatenate, (signals, labels, numbers))
    return Beats(signals_NL, labels_N, records_N, notes)


def _beats(folder: Path, record: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Cut the beats of one record: signals_NL (mV), labels_N, and a note or an empty text."""
    where = f"dataset.file={folder}: record {record}"
    wfdb = import_wfdb()
    if not (folder / f"{record}.atr").is_file():
        raise UsageError(f"{where} has no annotations: copy {record}.atr beside {record}.hea")
    try:
        lead, signal_T, samples, symbols = _read(wfdb, folder, record)
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{where} cannot be read by wfdb ({reason}): copy it again") from None
    known = {symbol: CLASSES.index(name) for name in CLASSES for symbol in SYMBOLS[name]}
    pairs = [
        (int(at), known[one]) for at, one in zip(samples, symbols, strict=True) if one in known
    ]
    if not pairs:
        raise UsageError(f"{where} has no annotated beat in {record}.atr: leave the record out")
    peaks_N, labels_N = np.array(pairs).T
    if peaks_N.min() < 0 or peaks_N.max() >= len(signal_T):
        raise UsageError(
            f"{where} has an annotation at sample {peaks_N.max():,} of {len(signal_T):,}: its .atr "
            "belongs to another .dat"
        )
    # the ends of a record go on with its last value
    places_NL = (peaks_N[:, None] + np.arange(-BEFORE, AFTER)).clip(0, len(signal_T) - 1)
    note = "" if lead == LEAD else f"record {record} has no lead {LEAD}: its first, {lead}, is read"
    return signal_T[places_NL].astype(np.float32), labels_N, note


def _read(
    wfdb: Any, folder: Path, record: int
) -> tuple[str, np.ndarray, np.ndarray, Sequence[str]]:
    """Read the lead, its signal_T (mV), and places and symbols of the annotations."""
    place = str(folder / str(record))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = wfdb.rdheader(place)
        if problem := _fault(header, folder):
            raise UsageError(f"dataset.file={folder}: record {record} {problem}")
        lead = LEAD if LEAD in header.sig_name else header.sig_name[0]
        signal_T = wfdb.rdrecord(place, channel_names=[lead]).p_signal[:, 0]
        annotation = wfdb.rdann(place, "atr")
    return lead, signal_T, annotation.sample, annotation.symbol


def _fault(header: Any, folder: Path) -> str | None:
    """Say why the header of a record is not one that can be read here, if it is not."""
    names = getattr(header, "file_name", None)
    if not names or not header.sig_name or not header.sig_len:
        return "has no signals of its own (its header names none)"
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            return f"names the file {name!r}, which is not beside its header"
    if header.fs != RATE_HZ:
        return f"has {header.fs:g} samples per second, and beats are cut at {RATE_HZ}"
    most = sum((folder / name).stat().st_size for name in set(names)) * BITS
    if header.sig_len * header.n_sig > most:
        return f"claims {header.sig_len:,} samples, which are not in its file"
    return None


def import_wfdb() -> Any:
    """Import the package that reads records.

    Raises:
        UsageError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it does with other packages
            import wfdb
    except ImportError:
        raise UsageError(
            "dataset=ecg_mitbih reads folders of PhysioNet records with the package wfdb, which is "
            "not installed: type python -m pip install wfdb"
        ) from None
    return wfdb
