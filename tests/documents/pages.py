"""Follow a page of the documents: write its files, and run commands beside them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.documents.test_documents import ROOT

FILE = re.compile(r"^`([\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write_files(page: Path, folder: Path) -> Path:
    """Write the files that a page shows into a folder; return the folder."""
    for path, text in FILE.findall(page.read_text()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a module of Python in a process of its own."""
    command = [sys.executable, "-m", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
