"""A file that is being made, by a start or a backup, when another one was, or is, at it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.stores.sqlite.backup import back_up
from kpiggybank.stores.sqlite.opening import open_file
from kpiggybank.stores.sqlite.unfinished import PARTIAL
from tests.taken_over import COMMITS, ids, names, taken_over

STOPPED = """
import time
from kpiggybank import backup
from kpiggybank.stores.sqlite import backup as made

def copy(source, partial):
    print("at it", flush=True)
    time.sleep(60)

made._copy = copy
backup.main()
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file with a few events, in a folder where all that a test makes is."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return taken_over(folder / "bank.sqlite3", tmp_path / "first", range(COMMITS), "", "-wal")


@pytest.fixture
def target(source: Path) -> Path:
    """Where the copy goes."""
    return source.with_name("copy.sqlite3")


@pytest.fixture
def partial(target: Path) -> Path:
    """Where it is before it is complete."""
    return Path(f"{target}{PARTIAL}")


def copies(source: Path) -> list[str]:
    """What is in the folder but the source."""
    return sorted(each.name for each in source.parent.iterdir() if source.name not in each.name)


def test_what_a_killed_one_left(source: Path, target: Path, partial: Path) -> None:
    """It is removed, with its journal, which would undo what is copied."""
    partial.write_bytes(b"x" * 10_000)
    Path(f"{partial}-journal").write_bytes(b"x" * 10_000)
    assert back_up(str(source), str(target)) == COMMITS
    assert copies(source) == [target.name]
    assert ids(target) == names(range(COMMITS))


def test_one_was_killed_at_its_end(source: Path, target: Path, partial: Path) -> None:
    """The copy that it has completed may be anywhere by now, and stays as it is."""
    older = target.with_name("older.sqlite3")
    back_up(str(source), str(older))
    before = older.read_bytes()
    os.link(older, partial)
    with older.open("rb") as used:
        fcntl.flock(used, fcntl.LOCK_EX)  # as a daemon does
        assert back_up(str(source), str(target)) == COMMITS
    assert copies(source) == [target.name, older.name]
    assert older.read_bytes() == before


def test_unfinished_source(source: Path, target: Path, partial: Path) -> None:
    """It may be a whole copy, and is not removed."""
    back_up(str(source), str(partial))
    with pytest.raises(StoreUnavailable, match=f"{partial} has the name of an unfinished copy"):
        back_up(str(partial), str(target))
    assert copies(source) == [partial.name]


def test_name_is_taken(source: Path, target: Path, partial: Path) -> None:
    """What can be no copy is left alone, and told by its name."""
    os.mkfifo(partial)
    assert back_up(str(source), str(target)) == COMMITS
    target.unlink()
    partial.mkdir()
    with pytest.raises(StoreUnavailable, match=f"cannot make {partial}: Is a directory"):
        back_up(str(source), str(target))
    assert copies(source) == [partial.name]


def test_what_a_killed_start_left(target: Path, partial: Path) -> None:
    """It is removed, whoever made it: in a container, each has the same process number."""
    partial.write_bytes(b"x" * 10_000)
    Path(f"{partial}-journal").write_bytes(b"x" * 10_000)
    assert ids(target) == []
    assert not partial.exists()
    assert not Path(f"{partial}-journal").exists()


def test_another_one_is_starting(target: Path, partial: Path) -> None:
    """The file will be that one's."""
    partial.touch()
    with partial.open("rb") as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match=f"{target} is in use by another KPIggyBank"):
            open_file(str(target))
    assert not target.exists()


def test_another_one_is_at_it(source: Path, target: Path, partial: Path) -> None:
    """What it makes is left to it."""
    partial.write_bytes(b"half of a copy")
    with partial.open("rb") as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match=f"{target} is just being made by another"):
            back_up(str(source), str(target))
    assert partial.read_bytes() == b"half of a copy"
    assert copies(source) == [partial.name]


@pytest.mark.parametrize("what", [signal.SIGTERM, signal.SIGINT])
def test_it_is_stopped(source: Path, target: Path, what: signal.Signals) -> None:
    """It says so in one line, and leaves nothing."""
    command = [sys.executable, "-c", STOPPED, str(source), str(target)]
    with subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at it\n"
        assert copies(source) == [f"{target.name}{PARTIAL}"]
        process.send_signal(what)
        _, err = process.communicate()
    assert (process.returncode, err) == (1, f"kpiggybank-backup: stopped by {what.name}\n")
    assert copies(source) == []
