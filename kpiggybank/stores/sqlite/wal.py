"""A write-ahead log as it lies beside its database. Everything here blocks.

Its format, and that of a database's first page, is in https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import os
import struct

# Both end with two salts, which are new when the log begins anew, and two sums, which go on from
# those before. A frame tells before them the size of the database where a commit ends, and else 0.
_HEADER = struct.Struct(">16xQ2I")
_FRAME = struct.Struct(">4xIQ2I")
#: The last bit of a log's first four bytes tells in which order the words of the sums are.
_BIG_ENDIAN = 1
#: Where the first page tells whether there may be a log, and what it says.
_MODE, _NO_LOG, _LOG = 18, b"\1\1", b"\2\2"

_WORD = 2**32


def log_size(path: str) -> int:
    """The size of a database's log in bytes, 0 where there is none."""
    try:
        return os.path.getsize(f"{path}-wal")
    except FileNotFoundError:
        return 0


def frames_end(frames: int, page_size: int) -> int:
    """Where in a log so many frames end."""
    return _HEADER.size + frames * (_FRAME.size + page_size)


def closed_in_order(descriptor: int) -> bool:
    """Whether who used a database last has written its log to it, and taken that away."""
    return _mode(descriptor) == _NO_LOG


def _mode(descriptor: int) -> bytes:
    return os.pread(descriptor, len(_LOG), _MODE)


def missing_log(path: str) -> str | None:
    """A remark where a database should have a log beside it, and has none.

    Nothing is said of a file that cannot be read. Not to be asked by a process that has a
    connection to it, which would lose its locks.
    """
    if os.path.lexists(f"{path}-wal"):
        return None
    try:
        with open(path, "rb") as file:
            if _mode(file.fileno()) != _LOG:
                return None
    except OSError:
        return None
    return (
        f"{path} was not closed in order, and there is no {path}-wal beside it: unless SQLite has"
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
    with open(f"{path}-wal", "rb") as file:
        log = file.fileno()
        start = os.pread(log, _HEADER.size, 0)
        if len(start) < _HEADER.size:
            return False
        little = not start[3] & _BIG_ENDIAN
        salts, *sums = _HEADER.unpack(start)
        whole = _sums(start[:-8], (0, 0), little) == tuple(sums)
        size = _FRAME.size + page_size
        place = frames_end(frames, page_size)
        while len(head := os.pread(log, _FRAME.size, place)) == _FRAME.size:
            place += size
            commit, salt, *sums = _FRAME.unpack(head)
            if not commit or (whole and salt != salts):
                continue
            following = os.pread(log, size, place)
            if len(following) == size and _goes_on(following, salt, tuple(sums), little):
                return True
    return False


_Sums = tuple[int, ...]


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
