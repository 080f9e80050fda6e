"""A server whose followers are told changes as fast as it can: `bare` or `bank`. It prints its URL.

`GET /go/CHANGES/TOGETHER` makes it begin to tell so many changes, so many of them at a time.

`bare` is the least that a Twisted server can do: a loop of `request.write` over all that are open,
one change a turn of the reactor, whatever TOGETHER is; the line is made once. `bank` is the real
way from the moment on that a store has new events: they are read from it, written once, and sent
to all; the next ones are stored when all followers have been told those before. What it costs to
take and to store an event is measured elsewhere; here it is the store that keeps only the newest.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater, react
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from kpiggybank.bank import Bank
from kpiggybank.events import Event
from kpiggybank.feed import Bell
from kpiggybank.sample import SignIns
from kpiggybank.stores.dummy import DummyStore
from kpiggybank.web.site import BankSite
from kpiggybank.web.wsapi import WsApi


def events() -> Iterator[bytes]:
    """Sign-ins without end."""
    return cycle([msgspec.json.encode(event) for event in SignIns(seed=1).take(500)])


class Bare(Resource):
    """Keeps every stream open, and writes to them in a loop."""

    isLeaf = True

    def __init__(self, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reactor = reactor
        self.streams: list[Any] = []

    def render_GET(self, request: Request) -> Any:
        """Open a stream, or go."""
        if request.path.startswith(b"/go/"):
            changes = int(request.path.split(b"/")[2])
            Deferred.fromCoroutine(self.go(changes))
            return b"ok"
        request.setHeader(b"Content-Type", b"application/x-ndjson")
        self.streams.append(request)
        gone = request.notifyFinish()
        gone.addErrback(lambda reason: self.streams.remove(request))
        request.write(b"")
        return NOT_DONE_YET

    async def go(self, changes: int) -> None:
        """Tell all of them."""
        for number, event in zip(range(changes), events(), strict=False):
            line = b'{"seq":"%d-12345678","id":"%028x","doc":%b}\r\n' % (number, number, event)
            for stream in self.streams:
                stream.write(line)
            await deferLater(self.reactor, 0)


class Banked(Resource):
    """The real interface, and `go`."""

    isLeaf = True

    def __init__(self, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reactor = reactor
        self.store = DummyStore()
        self.bank = Bank(self.store, reactor)
        self.api: Any = WsApi(self.bank, reactor, 60.0).resource

    def render(self, request: Request) -> Any:
        """Answer as the real interface does, or go."""
        if not request.path.startswith(b"/go/"):
            return self.api.render(request)
        changes, together = map(int, request.path.split(b"/")[2:])
        Deferred.fromCoroutine(self.go(changes, together))
        return b"ok"

    async def go(self, changes: int, together: int) -> None:
        """Store all of them."""
        source = (Event(f"{number:028x}", 0, json) for number, json in enumerate(events()))
        feed = self.bank._feed
        told = Bell()
        feed.join(told)  # it is the last to be rung
        for _ in range(changes // together):
            told.muffle()
            for _ in range(together):
                self.store.append([next(source)])
                feed.ring()
            await told.wait()
        feed.leave(told)


async def main(reactor: Any, kind: str) -> None:
    """Serve until the end."""
    site: Any
    if kind == "bare":
        site = Site(Bare(reactor), reactor=reactor)
        site.log = lambda request: None
    else:
        site = BankSite(Banked(reactor), reactor)
    port = await serverFromString(reactor, "tcp:0:backlog=2000:interface=127.0.0.1").listen(site)
    print(f"http://127.0.0.1:{port.getHost().port}", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
