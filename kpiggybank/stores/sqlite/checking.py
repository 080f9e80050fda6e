"""The full check of a SQLite file: every page, every index, every event."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import attrs

from kpiggybank.interfaces import StoreDamaged
from kpiggybank.stores.sequence import is_generation
from kpiggybank.stores.sqlite import rows
from kpiggybank.stores.sqlite.errors import DriverErrors
from kpiggybank.stores.sqlite.opening import VERSION, connect_to_look, connect_to_read
from kpiggybank.stores.sqlite.wal import damaged_log


@attrs.define(eq=False)
class FileCheck:
    """Looks for whatever in a file is not as it was written; a daemon may be using it meanwhile.

    Args:
        path: the file.

    Attributes:
        events: how many have been looked at.
    """

    _path: str
    events: int = attrs.field(default=0, init=False)

    def findings(self) -> Iterator[str]:
        """What is damaged, a line each.

        Raises:
            StoreUnavailable: the file cannot be read at all, or is not ours.
        """
        connect = connect_to_read
        if (damage := damaged_log(self._path)) is not None:
            yield damage
            connect = connect_to_look
        with DriverErrors(f"read {self._path}"):
            connection = connect(self._path)
            try:
                # All of it at one moment. Nothing but closing ends the transaction: to end it in
                # order fails after what could not be read.
                connection.execute("BEGIN")
                for look in (self._events, self._file):
                    yield from self._as_far_as_possible(look(connection))
            finally:
                connection.close()

    def _as_far_as_possible(self, found: Iterator[str]) -> Iterator[str]:
        try:
            yield from found
        except apsw.CorruptError as error:
            yield f"the rest cannot be read: {error}"

    def _events(self, connection: apsw.Connection) -> Iterator[str]:
        last = 0
        try:
            newest = rows.greatest(connection)
        except apsw.CorruptError:
            newest = 0  # whoever knows no end goes no further than to what cannot be read
        while True:
            try:
                for row in rows.ask(connection, ("seq > ? ORDER BY seq", (last,))):
                    last = max(last, row[0])  # damage may have put rows out of their order
                    self.events += 1
                    try:
                        rows.event_of(row)
                    except StoreDamaged as error:
                        yield str(error)
                break
            except (apsw.CorruptError, StoreDamaged) as error:
                last = self._next(connection, last)
                self.events += 1
                yield f"event {last} cannot be read: {error}"
            if last >= newest:
                break

    def _next(self, connection: apsw.Connection, last: int) -> int:
        """The event after one: where people have deleted some, it has not the next number."""
        question = "SELECT coalesce(min(seq), ?) FROM event WHERE seq > ?"
        try:
            following: int = connection.execute(question, (last + 1, last)).get
        except apsw.CorruptError:
            return last + 1
        return max(following, last + 1)

    def _file(self, connection: apsw.Connection) -> Iterator[str]:
        for (line,) in connection.execute("PRAGMA integrity_check"):
            if line != "ok":
                yield " ".join(str(line).split())
        for version, generation, removed in connection.execute("SELECT * FROM bank"):
            if version != VERSION or not is_generation(generation):
                yield "the row in table bank is damaged"
            missing = rows.greatest(connection) - removed - self.events
            if missing > 0:
                yield f"{missing} events are missing"
            elif missing < 0:
                yield f"there are {-missing} events more than table bank says"
