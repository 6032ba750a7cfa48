"""Fetch one file over HTTP: told before, bounded, resumed where it broke off, never half there.

What has come is kept as `NAME.part`, with the address and the server's tag of the file beside it;
the next call asks for the rest, if the server still has the same file. The file gets its name when
all of it is there and its checksum is right.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from nasrun.errors import RunError, UsageError
from nasrun.storage.durable import replacing

TIMEOUT_S = 30.0
ATTEMPTS = 4  # connections in a row that bring nothing new
CHUNK = 1 << 20  # bytes
MOST_BYTES = 20 * 10**9  # of a file
SPARE_BYTES = 500_000_000  # of the disk, which stay free
BROKEN = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Offered:
    """What a server says of a file: its size in bytes, and a tag that changes with the file."""

    num_bytes: int
    tag: str


def ask(address: str) -> Offered:
    """Ask for the size of a file, without the file.

    Raises:
        UsageError: it is not there, has no size, or is larger than anything we fetch.
        RunError: the server does not answer.
    """
    if urlsplit(address).scheme not in ("http", "https"):
        raise UsageError(f"{address} is no address: type https://...")
    try:
        with _opened(urllib.request.Request(address, method="HEAD")) as answer:
            size, tag = answer.headers.get("Content-Length"), answer.headers.get("ETag")
    except urllib.error.HTTPError as error:
        raise UsageError(f"{address} is not there: {error.code} {error.reason}") from None
    except BROKEN as error:
        raise RunError(f"{address} does not answer: {_reason(error)}") from None
    if size is None or not size.isdigit():
        raise UsageError(f"{address} does not say how large it is, so it is not fetched")
    if int(size) > MOST_BYTES:
        raise UsageError(f"{address} has {int(size):,} bytes, and at most {MOST_BYTES:,} are read")
    return Offered(int(size), tag or "")


def fetch(
    address: str,
    offered: Offered,
    target: Path,
    check: Callable[[Path], None],
    progress: Callable[[int, int], None],
) -> None:
    """Fetch a file into `target`; what an earlier call has got is not fetched again.

    Args:
        check: is called with the whole file, and raises where it is not the right one; it is
            thrown away then.
        progress: is told how many bytes of how many are there.

    Raises:
        UsageError: there is not enough room.
        RunError: the connection broke off too often; the next call goes on.
    """
    part = target.with_name(f"{target.name}.part")
    _prepare(part, address, offered)
    have, failures = part.stat().st_size, 0
    while have < offered.num_bytes:
        before = have
        with contextlib.suppress(*BROKEN):
            have = _receive(address, offered, part, progress)
        have = part.stat().st_size
        failures = 0 if have > before else failures + 1
        if failures == ATTEMPTS:
            raise RunError(
                f"{address} broke off after {have:,} of {offered.num_bytes:,} bytes; the same "
                "command goes on from there"
            )
    try:
        check(part)
    except Exception:
        _forget(part)
        raise
    part.rename(target)
    _note(part).unlink(missing_ok=True)


def checksum(path: Path, kind: str) -> str:
    """Return a checksum of a file in hexadecimal digits; `kind` is `md5` or `sha256`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _prepare(part: Path, address: str, offered: Offered) -> None:
    """Keep what is there of the same file; else begin anew."""
    note = {"address": address, "bytes": offered.num_bytes, "tag": offered.tag}
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        known = None
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(_note(part).read_text(encoding="utf-8"))
        if known != note or not offered.tag:
            _forget(part)
            with replacing(_note(part)) as path:
                path.write_text(json.dumps(note), encoding="utf-8")
        part.touch()
        if part.stat().st_size > offered.num_bytes:
            part.write_bytes(b"")
        free = shutil.disk_usage(part.parent).free
    except OSError as error:
        raise UsageError(f"{part} cannot be written: {error.strerror}") from None
    wanted = offered.num_bytes - part.stat().st_size + SPARE_BYTES
    if wanted > free:
        raise UsageError(f"{part.parent} has {free:,} bytes free, and {wanted:,} are needed")


def _receive(
    address: str, offered: Offered, part: Path, progress: Callable[[int, int], None]
) -> int:
    """Append what one connection brings; return how many bytes are there."""
    have = part.stat().st_size
    asked = {"Range": f"bytes={have}-", "If-Range": offered.tag} if have else {}
    with _opened(urllib.request.Request(address, headers=asked)) as answer:
        if have and answer.status != 206:  # all of it comes again
            have = 0
        with part.open("ab" if have else "wb") as file:
            while have < offered.num_bytes:
                data = answer.read(min(CHUNK, offered.num_bytes - have))
                if not data:
                    break
                file.write(data)
                have += len(data)
                progress(have, offered.num_bytes)
    return have


def _opened(request: urllib.request.Request) -> http.client.HTTPResponse:
    answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    if request.full_url.startswith("https:") and not answer.url.startswith("https:"):
        answer.close()
        raise OSError(0, f"it leads to {answer.url}, which is not encrypted")
    return answer


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(getattr(reason, "strerror", None) or reason)
