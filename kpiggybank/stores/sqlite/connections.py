"""Connections to a database file. Everything here blocks."""

from __future__ import annotations

from types import TracebackType

import apsw
import attrs

from kpiggybank.stores.sqlite.errors import translated
from kpiggybank.stores.sqlite.gate import Gate
from kpiggybank.stores.sqlite.workers import nobody_waits

#: How long another program is waited for.
BUSY_MILLISECONDS = 5000

#: Instructions of SQLite's, some ten milliseconds of them, after which a read that nobody waits for
#: any more ends.
_STEPS = 1_000_000


def connect(path: str) -> apsw.Connection:
    """A connection that syncs each commit."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    connection.execute("PRAGMA synchronous = FULL")
    # What could undo a savepoint is no reason to write a file.
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def is_whole(connection: apsw.Connection) -> bool:
    """Whether all pages of a database are there, in itself or its log; it looks at each of them.

    Not to be asked in a new connection: where a file has been emptied, that removes its log.
    """
    connection.release_memory()  # or it knows pages that are gone
    try:
        return bool(connection.execute("PRAGMA quick_check(1)").get == "ok")
    except (apsw.CorruptError, apsw.NotADBError):
        return False


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

    def one(self, doing: str = "read") -> _Read:
        """A connection for one read, in `with`."""
        return _Read(self, doing)

    def take(self) -> apsw.Connection:
        """A connection that nobody uses."""
        try:
            return self._idle.pop()
        except IndexError:
            connection = connect(self._path)
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA cache_size = -1000")  # KiB; the kernel has one, too
            connection.set_progress_handler(nobody_waits, _STEPS)
            return connection

    def put(self, connection: apsw.Connection) -> None:
        """Let others use it."""
        self._idle.append(connection)

    def close(self) -> None:
        """Close them; nobody may be reading."""
        while self._idle:
            self._idle.pop().close()


# As generators, one in the other, this would cost a third of a small read.
@attrs.define(eq=False)
class _Read:
    _connections: ReadingConnections
    _doing: str
    _connection: apsw.Connection = attrs.field(init=False)

    def __enter__(self) -> apsw.Connection:
        connections = self._connections
        connections.gate.enter()
        try:
            self._connection = connections.take()
        except BaseException as error:
            connections.gate.leave()
            if isinstance(error, apsw.Error):
                raise translated(error, self._doing) from error
            raise
        return self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connections.put(self._connection)
        self._connections.gate.leave()
        if isinstance(error, apsw.Error):
            raise translated(error, self._doing) from error
