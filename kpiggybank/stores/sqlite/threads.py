"""The threads of a store."""

from __future__ import annotations

from typing import Any

import attrs

from kpiggybank.stores.sqlite.workers import Workers

#: How many reads go on at a time, each in a thread and with a connection of its own; and how many
#: of those that look at each event of a range, which would be in the way of all others.
READERS = 3
SCANNERS = 2

#: The thread that writes goes before the reactor, where the system lets it (root's processes, or
#: `LimitNICE` of systemd): so the disk is soon busy again, and requests are read meanwhile. Of one
#: core it then gets ten times as much as the reactor. With three times as much, all requests had
#: been read before the disk was busy, and the core had nothing to do for a fiftieth of the time.
WRITER_NICENESS = -10

#: They stand back behind the reactor and the thread that writes: on one core, a post beside a large
#: range took ten times as long as alone, and with this it takes three times as long.
READERS_NICENESS = 10


@attrs.define(eq=False)
class Threads:
    """All that a store does with its file, it does in one of these.

    Args:
        reactor: gets what comes of it; it provides `IReactorFromThreads` and `IReactorTime`.

    Attributes:
        writer: the one that writes.
        merger: the one that writes the log to the database, beside it.
        readers: for what is found by an index.
        scanners: for what takes a look at each event of a range.
    """

    _reactor: Any
    writer: Workers = attrs.field(init=False)
    merger: Workers = attrs.field(init=False)
    readers: Workers = attrs.field(init=False)
    scanners: Workers = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.writer = Workers(self._reactor, 1, "kpiggybank write", WRITER_NICENESS)
        self.merger = Workers(self._reactor, 1, "kpiggybank merge", WRITER_NICENESS)
        self.readers = Workers(self._reactor, READERS, "kpiggybank read", READERS_NICENESS)
        self.scanners = Workers(self._reactor, SCANNERS, "kpiggybank scan", READERS_NICENESS)

    def start(self) -> None:
        """Begin; to be called once."""
        for each in (self.writer, self.merger, self.readers, self.scanners):
            each.start()

    async def stop_all_but_the_writer(self) -> None:
        """End the others; returns when all that they were given is done and told."""
        for each in (self.merger, self.readers, self.scanners):
            await each.stop()
