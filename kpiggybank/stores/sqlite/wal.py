"""A write-ahead log as it lies beside its database. Everything here blocks.

Its format, and that of a database's first page, is in https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time
from contextlib import suppress

# Both end with two salts, which are new when the log begins anew, and two sums, which go on from
# those before. A frame tells before them the size of the database where a commit ends, and else 0.
_HEADER = struct.Struct(">16xQ2I")
_FRAME = struct.Struct(">4xIQ2I")
#: How a log begins, and in which order the words of its sums are then.
_LITTLE, _BIG = b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"
#: The index of a log, twice, each word as this machine has it: whether it is one, how many frames
#: the commits have, and the salts as they are in the log. https://www.sqlite.org/walformat.html
_INDEX = struct.Struct("=12xB3xI12x8s8x")
#: What follows them: how many of these frames have been written to the database, and synced there.
_MERGED = struct.Struct("=I")
#: Where the first page tells the size of all: the upper and the lower byte, or 1 for 65536.
_PAGE_SIZE = 16
#: Where the first page tells whether there may be a log, and what it says.
_MODE, _NO_LOG, _LOG = 18, b"\1\1", b"\2\2"

_WORD = 2**32


def log_of(path: str) -> str:
    """Where the log of a database is: beside the file itself, whatever links lead there."""
    return f"{os.path.realpath(path)}-wal"


def index_of(path: str) -> str:
    """Where the index of that log is."""
    return f"{os.path.realpath(path)}-shm"


def log_size(path: str) -> int:
    """The size of a database's log in bytes, 0 where there is none."""
    try:
        return os.path.getsize(log_of(path))
    except FileNotFoundError:
        return 0


def frames_end(frames: int, page_size: int) -> int:
    """Where in a log so many frames end."""
    return _HEADER.size + frames * (_FRAME.size + page_size)


def lacks_its_end(path: str) -> bool:
    """Whether the last commit that is in the index beside a log is not in it, or not whole.

    A commit is in the index when it has been synced; after a power cut it may be an older index, or
    that of the log before, which tells nothing. So of a log without a head of its own, as of an
    emptied or removed one, it tells only where the machine has run on since. Not to be asked by a
    process that has a connection to the database, which would lose its locks; and whoever opens it
    in any other way than `connect_to_look` has SQLite make the index anew.
    """
    with suppress(OSError, struct.error):
        with open(index_of(path), "rb") as index:
            one, other = index.read(_INDEX.size), index.read(_INDEX.size)
            [merged] = _MERGED.unpack(index.read(_MERGED.size))
            opened = os.fstat(index.fileno()).st_mtime
        is_one, frames, salts = _INDEX.unpack(one)
        if not is_one or not frames or one != other or not _may_have_log(path):
            return False
        start = b""
        with suppress(FileNotFoundError), open(log_of(path), "rb") as log:
            start = os.pread(log.fileno(), _HEADER.size, 0)
            if salts == start[16:24]:
                return not _ends_whole(log.fileno(), start, frames)
        return merged < frames and not _has_head(start) and opened > _booted()
    return False


def _booted() -> float:
    """When this machine was started, in seconds since the epoch; later if it has slept."""
    return time.time() - time.monotonic()


def _has_head(start: bytes) -> bool:
    return len(start) == _HEADER.size and _beginning(start)[-1]


def _ends_whole(log: int, start: bytes, frames: int) -> bool:
    """Whether the last of some frames, those of one commit, go on from the commit before."""
    page_size = int.from_bytes(start[8:12])
    end, size = frames_end(frames, page_size), _FRAME.size + page_size
    if os.fstat(log).st_size < end:
        return False
    salts, sums, little, _ = _beginning(start)
    first = _HEADER.size
    for place in range(end - 2 * size, first - 1, -size):
        commit, _, *before = _FRAME.unpack(os.pread(log, _FRAME.size, place))
        if commit:
            sums, first = tuple(before), place + size
            break
    for place in range(first, end, size):
        frame = os.pread(log, size, place)
        if not _goes_on(frame, salts, sums, little):
            return False
        sums = _FRAME.unpack_from(frame)[2:]
    return True


def closed_in_order(descriptor: int) -> bool:
    """Whether who used a database last has written its log to it, and taken that away."""
    return _mode(descriptor) == _NO_LOG


def _may_have_log(path: str) -> bool:
    with open(path, "rb") as file:
        return _mode(file.fileno()) == _LOG


def _mode(descriptor: int) -> bytes:
    return os.pread(descriptor, len(_LOG), _MODE)


def missing_log(path: str) -> str | None:
    """A remark where a database should have a log beside it, and has none.

    Nothing is said of a file that cannot be read. Not to be asked by a process that has a
    connection to it, which would lose its locks.
    """
    log = log_of(path)
    if os.path.lexists(log):
        return None
    try:
        if not _may_have_log(path):
            return None
    except OSError:
        return None
    return (
        f"{path} was not closed in order, and there is no {log} beside it: unless SQLite has"
        " merged the two, the newest events are missing"
    )


def commits_behind(path: str, frames: int, page_size: int) -> bool:
    """Whether commits that were synced lie behind the part of a log that can be read.

    SQLite reads a log up to the first frame whose sum is wrong. As a rule, that is where a power
    cut has torn the last commit, which nobody was told of. But where the next commit has begun,
    which shows as it goes on from the sum of the one before, the last sync had ended: then
    something that was safe has been damaged.

    Args:
        path: the database.
        frames: how many frames of its log can be read.
        page_size: in bytes.
    """
    with open(log_of(path), "rb") as file:
        log = file.fileno()
        start = os.pread(log, _HEADER.size, 0)
        if len(start) < _HEADER.size:
            return False
        salts, _, little, whole = _beginning(start)
        size = _FRAME.size + page_size
        place = frames_end(frames, page_size)
        while len(head := os.pread(log, _FRAME.size, place)) == _FRAME.size:
            place += size
            commit, salt, *here = _FRAME.unpack(head)
            if not commit or (whole and salt != salts):
                continue
            following = os.pread(log, size, place)
            if len(following) == size and _goes_on(following, salt, tuple(here), little):
                return True
    return False


def damaged_log(path: str) -> str | None:
    """A line about a log in which commits lie behind what can be read of it.

    Nothing is said of a database that a KPIggyBank uses, or that cannot be read. Not to be asked by
    a process that has a connection to it, which would lose its locks.
    """
    with suppress(OSError), open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)  # a start shall not be refused because of us
        page_size = int.from_bytes(os.pread(file.fileno(), 2, _PAGE_SIZE))
        page_size = 2**16 if page_size == 1 else page_size
        if lacks_its_end(path) or (
            page_size and commits_behind(path, _readable(path, page_size), page_size)
        ):
            return f"{log_of(path)} is damaged: what was acknowledged cannot be read in it"
    return None


def _readable(path: str, page_size: int) -> int:
    """How many frames of a log SQLite would read, and be it for a commit that is torn."""
    with open(log_of(path), "rb") as log:
        start = log.read(_HEADER.size)
        if len(start) < _HEADER.size:
            return 0
        salts, sums, little, whole = _beginning(start)
        count = 0
        while whole:
            frame = log.read(_FRAME.size + page_size)
            if len(frame) < _FRAME.size + page_size or not _goes_on(frame, salts, sums, little):
                break
            sums = _FRAME.unpack_from(frame)[2:]
            count += 1
    return count


_Sums = tuple[int, ...]


def _beginning(start: bytes) -> tuple[int, _Sums, bool, bool]:
    """The salts and sums in a log's head, the order of their words, and whether it is whole."""
    salts, *sums = _HEADER.unpack(start)
    little = start.startswith(_LITTLE)
    if not little and not start.startswith(_BIG):
        return salts, tuple(sums), sys.byteorder == "little", False
    return salts, tuple(sums), little, _sums(start[:-8], (0, 0), little) == tuple(sums)


def _goes_on(frame: bytes, salt: int, sums: _Sums, little: bool) -> bool:
    """Whether a frame goes on from the salts and sums of another one."""
    _, salt_here, *sums_here = _FRAME.unpack_from(frame)
    content = frame[:8] + frame[_FRAME.size :]
    return salt_here == salt and _sums(content, sums, little) == tuple(sums_here)


def _sums(content: bytes, before: _Sums, little: bool) -> _Sums:
    """The sums of a content, which go on from those before; its length is a multiple of 8."""
    first, second = before
    words = iter(struct.unpack(f"{'<' if little else '>'}{len(content) // 4}I", content))
    for one, two in zip(words, words, strict=True):
        first = (first + one + second) % _WORD
        second = (second + two + first) % _WORD
    return first, second
