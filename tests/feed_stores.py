"""Stores whose reads of changes come as late as a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed

from kpiggybank.events import Change
from kpiggybank.stores.memory import MemoryStore
from kpiggybank.stores.sqlite.store import SQLiteStore


@attrs.define(eq=False)
class Latecomers:
    """Answers that wait until they are let go."""

    _waiting: list[Deferred[None]] = attrs.field(factory=list)

    def delay(self, answer: Deferred[Any]) -> Deferred[Any]:
        """The same answer, but later."""
        return answer.addBoth(self._keep)

    def _keep(self, result: Any) -> Deferred[Any]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting.addCallback(lambda _: result)

    def let_go(self) -> bool:
        """Let all answers go that wait; tells whether there were any."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)
        return bool(waiting)


@attrs.define(eq=False)
class LazyMemoryStore(MemoryStore):
    """In memory.

    Attributes:
        lazy: whether what is read of changes waits for `let_go`.
        busy: nothing ever is.
    """

    lazy: bool = False
    busy: int = 0
    _late: Latecomers = attrs.field(factory=Latecomers)

    def changes(self, since: str, limit: int) -> Deferred[Sequence[Change]]:
        """What changed, perhaps late."""
        changes = MemoryStore.changes(self, since, limit)
        return self._late.delay(changes) if self.lazy else changes

    def let_go(self) -> bool:
        """Let go what waits; tells whether there was anything."""
        return self._late.let_go()

    def answered(self) -> Deferred[None]:
        """Fire at once, as it has no threads."""
        return succeed(None)


@attrs.define(eq=False)
class LazySQLiteStore(SQLiteStore):
    """In a file.

    Attributes:
        lazy: whether what is read of changes waits for `let_go`.
        busy: how many of its threads have something to do.
    """

    lazy: bool = False
    busy: int = 0
    _late: Latecomers = attrs.field(factory=Latecomers)
    _answered: Deferred[None] = attrs.field(factory=Deferred)

    def changes(self, since: str, limit: int) -> Deferred[Sequence[Change]]:
        """What changed, perhaps late."""
        changes = SQLiteStore.changes(self, since, limit)
        return self._late.delay(changes) if self.lazy else changes

    def let_go(self) -> bool:
        """Let go what waits; tells whether there was anything."""
        return self._late.let_go()

    def answered(self) -> Deferred[None]:
        """Fire when the next of its threads is done."""
        return self._answered

    def _read_in(self, workers: Any, ask: Any) -> Deferred[Any]:
        return self._counted(SQLiteStore._read_in(self, workers, ask))

    def _in_writer(self, work: Any) -> Deferred[Any]:
        return self._counted(SQLiteStore._in_writer(self, work))

    def _counted(self, work: Deferred[Any]) -> Deferred[Any]:
        def done(result: Any) -> Any:
            self.busy -= 1
            answered, self._answered = self._answered, Deferred()
            answered.callback(None)
            return result

        self.busy += 1
        return work.addBoth(done)


LazyStore = LazyMemoryStore | LazySQLiteStore
