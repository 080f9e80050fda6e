"""The continuous feed of a scripted CouchDB."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from tests.scripted_replies import close


@attrs.define(eq=False)
class Feed:
    """A continuous answer of `_changes` that is open."""

    request: Request
    since: str
    over: Deferred[None] = attrs.field(factory=Deferred)

    def say(self, *pieces: bytes) -> None:
        """Send bytes, each piece a chunk."""
        for piece in pieces:
            self.request.write(piece)

    def finish(self) -> None:
        """End the answer in order."""
        self.over.callback(None)

    def cut(self) -> None:
        """Close the connection behind what was said."""
        close(self.request)


def sequence(place: int) -> str:
    """A sequence as CouchDB has them: a number and something opaque."""
    return f"{place}-g1AAAACbeJzLYWBg{place:x}"


def number(since: str) -> int:
    """The number at the beginning of a sequence, 0 where there is none."""
    begin = since.partition("-")[0]
    return int(begin) if begin.isdigit() else 0
