"""Damaged files of every kind are refused in a line or read: the short form of `python -m tests.mutations`."""

import subprocess
import sys

from tests.chain import ROOT
from tests.mutations import READERS


def test_damaged_files_are_read_or_refused():
    """In a process of its own: a crash would end the tests, too."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutations", "--cases", "200"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == [reader.name for reader in READERS]
    assert all(int(read) + int(refused) == 200 and faults == "0" for _, read, refused, faults, _ in rows), done.stdout
    assert all(int(refused) > 0 for _, _, refused, _, _ in rows), done.stdout
