"""The full check of a SQLite file, and the checksum that it compares."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import apsw
import pytest

from kpiggybank.events import Columns, Event
from kpiggybank.interfaces import StoreDamaged
from kpiggybank.stores.sqlite.checking import FileCheck
from kpiggybank.stores.sqlite.insertion import Append
from kpiggybank.stores.sqlite.opening import open_file
from tests.feed_contract import event

TIMES = [0, 1, -7, 1.0, -0.0, 0.1, 5e-324, 1.7e308, 2**63 - 1, -(2**63), 2**63, 2**64, 10**30]
FLIPS = 300
PAGE = 4096


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with events of all kinds, closed in order."""
    path = tmp_path_factory.mktemp("whole") / "bank.sqlite3"
    given = [
        event(f"id-{place:04}", TIMES[place % len(TIMES)], text=f"<{place:04}> café \0 😀")
        for place in range(2000)
    ]
    file = open_file(str(path))
    parts = [given[place : place + 250] for place in range(0, 2000, 250)]
    file.write([Append(Columns.of(part), ()) for part in parts])
    file.close()
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copy(whole, tmp_path))


def test_checksums_are_those_of_zlib(whole: Path) -> None:
    """Whoever has Python alone can tell that a row is as it was written."""
    connection = sqlite3.connect(whole)
    question = "SELECT seq, id, timestamp, CAST(json AS BLOB), checksum FROM event"
    rows = connection.execute(question).fetchall()
    connection.close()
    assert len(rows) == 2000
    for seq, id, timestamp, json, checksum in rows:
        assert zlib.crc32(f"{seq} {timestamp!r} {id}".encode() + json) == checksum


def findings(path: Path) -> list[str]:
    """What the check says."""
    return list(FileCheck(str(path)).findings())


def sql(path: Path, statement: str, *bindings: object) -> None:
    """Change a file behind the store's back."""
    connection = apsw.Connection(str(path))
    connection.execute(statement, bindings)
    connection.close()


def flipped(data: bytes, bit: int) -> bytes:
    """Some bytes with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def single(data: bytes) -> list[int]:
    """The events that are in a file once: of others, SQLite has moved a page and left the old."""
    places = [place for place in range(2000) if data.count(b"<%04d>" % place) == 1]
    assert len(places) > 1000
    return places


def test_whole_file(whole: Path) -> None:
    """What was written is found as it was, whatever its numbers and letters; all of it."""
    check = FileCheck(str(whole))
    assert list(check.findings()) == []
    assert check.events == 2000


def test_any_flipped_bit_of_a_text(path: Path) -> None:
    """One bit in the stored text of an event, anywhere, and the check names that event."""
    random = Random(5)
    data = path.read_bytes()
    for place in random.choices(single(data), k=FLIPS):
        start = data.index(b"<%04d>" % place)
        begin, end = data.rindex(b'{"timestamp"', 0, start), data.index(b"}", start)
        bit = random.randrange(begin * 8, (end + 1) * 8)
        path.write_bytes(flipped(data, bit))
        found = findings(path)
        assert any(f"'id-{place:04}'" in line for line in found), (bit, found)


def test_any_flipped_bit_of_an_id(path: Path) -> None:
    """One bit in the stored id of an event, in its row, and the check names its number."""
    random = Random(6)
    data = path.read_bytes()
    for place in random.choices(single(data), k=FLIPS // 3):
        text = data.index(b"<%04d>" % place)
        start = data.rindex(b"id-%04d" % place, 0, text)
        path.write_bytes(flipped(data, random.randrange(start * 8, (start + 7) * 8)))
        found = findings(path)
        assert any(f"seq {place + 1})" in line or "id is damaged" in line for line in found), found


@pytest.mark.parametrize("place", range(len(TIMES)))
def test_other_timestamp(path: Path, place: int) -> None:
    """A timestamp that was changed is found, be it to the nearest one there is."""
    id = f"id-{place:04}"
    sql(path, "UPDATE event SET timestamp = -timestamp - 1 WHERE id = ?", id)
    assert any(id in line for line in findings(path))


def test_all_damaged_events_are_named(path: Path) -> None:
    """One damaged event does not hide the next."""
    sql(path, "UPDATE event SET checksum = checksum + 1 WHERE seq % 10 = 0")
    assert len(findings(path)) == 200


def test_value_of_another_kind(path: Path) -> None:
    """What the table could never have taken is damage, not a crash."""
    sql(path, "UPDATE event SET json = '' WHERE seq = 5")
    [found] = findings(path)
    assert "id-0004" in found


@pytest.mark.parametrize("page", [2, 3, 10, 20, 40])
def test_lost_page(path: Path, page: int) -> None:
    """A page of zeros gives findings, or the news that nothing can be read, and no traceback."""
    data = bytearray(path.read_bytes())
    data[(page - 1) * PAGE : page * PAGE] = bytes(PAGE)
    path.write_bytes(data)
    try:
        assert findings(path)
    except StoreDamaged as error:
        assert str(path) in str(error)


def test_rows_out_of_order(path: Path) -> None:
    """The check ends, wherever one bit of a pointer to a row is changed."""
    data = path.read_bytes()
    # The leaves of tables of the last quarter: kind, free block, number of cells, their pointers.
    leaves = [
        at for at in range(3 * len(data) // 4 // 4096 * 4096, len(data), 4096) if data[at] == 13
    ]
    assert leaves
    for leaf in leaves[::4]:
        for bit in (1, 5, 11):
            pointers = data[leaf + 8 : leaf + 12]
            path.write_bytes(data[: leaf + 8] + flipped(pointers, bit) + data[leaf + 12 :])
            assert 0 < len(list(islice(FileCheck(str(path)).findings(), 5000))) < 5000


def test_beside_a_writer(path: Path) -> None:
    """A file that is open, and written to, can be checked."""
    file = open_file(str(path))

    def writing() -> Iterator[None]:
        for place in range(5):
            file.write([Append(Columns.of([Event(f"new{place}", 1, b'{"timestamp":1}')]), ())])
            yield

    for _ in writing():
        assert findings(path) == []
    file.close()


@pytest.mark.parametrize(
    ("case", "status", "words"),
    [("whole", 0, "2000 events"), ("damaged", 1, "id-0002"), ("text", 2, ""), ("none", 2, "")],
)
def test_command(path: Path, case: str, status: int, words: str) -> None:
    """The command's status says how it is, its output which events are damaged."""
    match case:
        case "damaged":
            sql(path, "UPDATE event SET json = '{\"timestamp\":5}' WHERE id = 'id-0002'")
        case "text":
            path.write_text("dear diary " * 100)
        case "none":
            path.unlink()
    command = [sys.executable, "-m", "kpiggybank.check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert words in done.stdout
    assert len(done.stderr.splitlines()) == (1 if status == 2 else 0)
    assert "Traceback" not in done.stderr
