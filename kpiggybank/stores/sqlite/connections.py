"""Connections to a database file. Everything here blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw
import attrs

from kpiggybank.stores.sqlite.errors import driver_errors
from kpiggybank.stores.sqlite.gate import Gate

#: How long another program is waited for.
BUSY_MILLISECONDS = 5000


def connect(path: str) -> apsw.Connection:
    """A connection that syncs each commit."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    connection.execute("PRAGMA synchronous = FULL")
    # What could undo a savepoint is no reason to write a file.
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


@attrs.define(eq=False)
class ReadingConnections:
    """Connections for reading, as many as there are reads at a time.

    Args:
        path: of the database.

    Attributes:
        gate: all reads go through it.
    """

    _path: str
    gate: Gate = attrs.field(factory=Gate, init=False)
    #: Those not in use; only appended to and popped, which is atomic.
    _idle: list[apsw.Connection] = attrs.field(factory=list, init=False)

    @contextmanager
    def one(self, doing: str = "read") -> Iterator[apsw.Connection]:
        """A connection for one read."""
        with driver_errors(doing), self.gate.inside():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = connect(self._path)
                connection.execute("PRAGMA query_only = ON")
                connection.execute("PRAGMA cache_size = -1000")  # KiB; the kernel has one, too
            try:
                yield connection
            finally:
                self._idle.append(connection)

    def close(self) -> None:
        """Close them; nobody may be reading."""
        while self._idle:
            self._idle.pop().close()
