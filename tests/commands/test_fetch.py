"""`nasrun data fetch`, from a server of this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasrun.benchmarks import fetching, store
from nasrun.commands import data
from nasrun.errors import RunError, UsageError
from nasrun.storage import downloads
from tests import made_tables


class Server(ThreadingHTTPServer):
    """Offers one file. `breaks_after` bytes a connection ends; `requests` are what was asked."""

    content = b""
    tag: str | None = '"one"'
    breaks_after: int | None = None
    tells_size = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/made.npz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.answer(with_content=False)

    def do_GET(self) -> None:
        self.answer(with_content=True)

    def answer(self, with_content: bool) -> None:
        asked, it = self.headers.get("Range"), self.server
        it.requests.append((self.command, asked))
        if "missing" in self.path:
            self.send_error(404)
            return
        same = self.headers.get("If-Range") == it.tag
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and same else 0
        self.send_response(206 if start else 200)
        if it.tells_size:
            self.send_header("Content-Length", str(len(it.content) - start))
        if it.tag:
            self.send_header("ETag", it.tag)
        self.end_headers()
        if with_content:
            most = len(it.content) if it.breaks_after is None else start + it.breaks_after
            self.wfile.write(it.content[start:most])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NASRUN_DATA", raising=False)
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "made.npz"


def fetch(server: Server, target: Path) -> None:
    downloads.fetch(
        server.address, downloads.ask(server.address), target, lambda _: None, lambda *_: None
    )


def test_a_table_is_fetched_checked_and_imported(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "made.npz", **made_tables.nasbench201())
    server.content = (tmp_path / "made.npz").read_bytes()
    server.breaks_after = len(server.content) // 2 + 1
    sha256 = hashlib.sha256(server.content).hexdigest()
    data.main(["fetch", "nasbench201", "--address", server.address, "--sha256", sha256])
    first, second, last = capsys.readouterr().out.splitlines()
    assert f"{len(server.content) / 1e6:,.1f} MB" in first
    assert second == f"sha256 {sha256} (as expected)"
    path = store.locate("nasbench201")
    assert last == f"imported: {path}"
    assert store.load("nasbench201").num_rows == 15_625
    assert list((tmp_path / "cache").rglob("made*")) == []  # the download is not kept
    with pytest.raises(UsageError, match="is there already: --force replaces it"):
        data.main(["fetch", "nasbench201", "--address", server.address])


def test_it_goes_on_where_it_broke_off(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = bytes(range(250)) * 4
    server.breaks_after = 300
    fetch(server, target)
    assert target.read_bytes() == server.content
    assert [asked for _, asked in server.requests] == [
        None, None, "bytes=300-", "bytes=600-", "bytes=900-",
    ]  # fmt: skip
    assert list(target.parent.glob("made.npz.*")) == []


def test_a_connection_that_brings_nothing_is_given_up_and_the_next_call_goes_on(
    server: Server, target: Path
) -> None:
    server.content, server.breaks_after = b"a" * 700, 300
    offered = downloads.ask(server.address)

    def cut(done: int, _: int) -> None:
        server.breaks_after = 0

    with pytest.raises(RunError, match=r"broke off after 300 of 700 bytes; the same command goes"):
        downloads.fetch(server.address, offered, target, lambda _: None, cut)
    assert not target.exists()
    server.breaks_after, server.requests[:] = None, []
    fetch(server, target)
    assert server.requests[-1] == ("GET", "bytes=300-")
    assert target.read_bytes() == server.content


@pytest.mark.parametrize("tag", ['"two"', None])
def test_another_file_or_one_without_a_tag_begins_anew(
    server: Server, target: Path, tag: str | None
) -> None:
    server.content, server.breaks_after = b"a" * 700, 300
    offered = downloads.ask(server.address)

    def cut(*_: int) -> None:
        server.breaks_after = 0

    with pytest.raises(RunError):
        downloads.fetch(server.address, offered, target, lambda _: None, cut)
    server.content, server.tag, server.breaks_after = b"b" * 700, tag, None
    fetch(server, target)
    assert target.read_bytes() == b"b" * 700


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.content = b"no table"
    with pytest.raises(RunError, match=r"its sha256 is .*, and not 00; it was thrown away"):
        data.main(["fetch", "nasbench201", "--address", server.address, "--sha256", "00"])
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_what_cannot_be_fetched_is_said(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="is not there: 404"):
        downloads.ask(server.address.replace("made", "missing"))
    with pytest.raises(UsageError, match="is no address: type https"):
        downloads.ask("file:///etc/passwd")
    server.tells_size = False
    with pytest.raises(UsageError, match="does not say how large it is"):
        downloads.ask(server.address)
    server.tells_size, server.content = True, b"a" * 700
    monkeypatch.setattr(downloads, "MOST_BYTES", 600)
    with pytest.raises(UsageError, match="has 700 bytes, and at most 600 are read"):
        downloads.ask(server.address)
    monkeypatch.setattr(downloads, "SPARE_BYTES", 10**18)
    with pytest.raises(UsageError, match=r"bytes free, and .* are needed"):
        downloads.fetch(
            server.address, downloads.Offered(700, ""), target, lambda _: None, lambda *_: None
        )


def test_addresses() -> None:
    assert fetching.address_of("nasbench101", None) == (
        "https://storage.googleapis.com/nasbench/nasbench_only108.tfrecord"
    )
    with pytest.raises(UsageError, match=r"github\.com/D-X-Y/NATS-Bench.* nasrun data import"):
        fetching.address_of("nasbench201", None)
    with pytest.raises(UsageError, match="others can hold pickles"):
        fetching.address_of("nasbench201", "https://example.org/table.pickle.pbz2")
    with pytest.raises(UsageError, match="did you mean nasbench101"):
        fetching.address_of("nasbench10", None)
