"""What was asked and how it ended: always counted, and told to the log where that is wanted."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from secrets import token_hex
from typing import Any

import attrs
from twisted.logger import Logger

from kpiggybank.tally import SECONDS, Histogram

#: The route of what none was found for.
OTHER = "other"
#: Its answers end when somebody leaves, so that it says nothing how long that took.
STREAM = "/wsapi/interaction_data/stream"
#: Asked every few seconds, by machines.
HEARTBEATS = frozenset({"/__heartbeat__", "/__lbheartbeat__", "/__version__"})

#: How an answer ends: as a whole; begun, but its client has left or was cut off; not even begun.
WHOLE, CUT, GONE = "whole", "cut", "gone"

#: The status in the log where the client has gone before there was one.
NO_STATUS = 499

#: Bytes of a path that are worth a place in the log.
PATH_BYTES = 512

_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"OPTIONS", b"PUT", b"PATCH", b"DELETE"})
_CLASSES = ("other", "1xx", "2xx", "3xx", "4xx", "5xx")
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_UNSAFE = re.compile(rb"[^!-\[\]-~]")  # all but what is visible in ASCII, save the backslash

# Not in the class, which would give it its own name; `kpiggybank.logs` knows this one.
_log = Logger(namespace="kpiggybank.access")


@attrs.define(eq=False)
class Requests:
    """How the requests of one route and one method ended.

    Attributes:
        outcomes: how many had an answer of which class, or none as a whole.
        durations: of the whole answers, from the last byte of the request.
    """

    outcomes: Counter[str] = attrs.field(factory=Counter, init=False)
    durations: Histogram = attrs.field(factory=lambda: Histogram(SECONDS), init=False)


@attrs.define(eq=False)
class Journal:
    """The requests of a site.

    Args:
        access_log: whether each request, once it has ended, is a line in the log.
        clock: tells the time in seconds; it must not jump.

    Attributes:
        requests: by method and route, both of which are few whatever clients send.
        stalled: readers that took nothing for too long and were cut off, by route.
    """

    _access_log: bool = False
    clock: Callable[[], float] = time.monotonic
    requests: dict[tuple[bytes, str], Requests] = attrs.field(factory=dict, init=False)
    stalled: Counter[str] = attrs.field(factory=Counter, init=False)
    _run: bytes = attrs.field(factory=lambda: token_hex(4).encode(), init=False)
    _numbers: count[int] = attrs.field(factory=lambda: count(1), init=False)

    def id_for(self, given: Sequence[bytes] | None) -> bytes:
        """The id of a request: the one its client gave in a header, if it is fit, or a new one."""
        if given is not None and len(given) == 1 and _ID.fullmatch(given[0]):
            return given[0]
        return b"%b-%x" % (self._run, next(self._numbers))

    def ended(self, request: Any, end: str = WHOLE) -> None:
        """Note that a `BankRequest` has ended."""
        seconds = self.clock() - request.began
        requests = self.requests.get((request.method, request.route))
        if requests is None:
            requests = self._requests(request.method, request.route)
        if end == WHOLE:
            requests.outcomes[_CLASSES[request.code // 100]] += 1
            if request.route != STREAM:
                requests.durations.add(seconds)
        else:
            requests.outcomes[end] += 1
        if self._access_log and request.route not in HEARTBEATS:
            status = NO_STATUS if end == GONE else request.code
            sent, id = request.sentLength, request.id
            self._tell(request.method, request.path, status, sent, seconds, id, end)

    def refused(
        self, method: bytes, path: bytes, route: str, status: int, sent: int, id: bytes
    ) -> None:
        """Note that a request was refused before it was whole."""
        self._requests(method, route).outcomes[_CLASSES[status // 100]] += 1
        if self._access_log:
            self._tell(method, path, status, sent, 0.0, id, WHOLE)

    def _requests(self, method: bytes, route: str) -> Requests:
        key = (method if method in _METHODS else b"other", route)
        return self.requests.setdefault(key, Requests())

    def _tell(
        self,
        method: bytes,
        path: bytes,
        status: int,
        sent: int,
        seconds: float,
        id: bytes,
        end: str,
    ) -> None:
        _log.info(
            "{method} {path} {status} {bytes} bytes {milliseconds} ms {request_id} {end}",
            method=visible(method) or "-",
            path=visible(path) or "-",
            status=status,
            bytes=sent,
            milliseconds=round(seconds * 1000, 1),
            request_id=id.decode(),
            end=end,
        )


def visible(text: bytes) -> str:
    """What a client sent, such that it is one word of a line of the log, and not too long."""
    cut = text[:PATH_BYTES]
    safe = _UNSAFE.sub(lambda match: b"\\x%02x" % ord(match[0]), cut)
    return safe.decode() + ("..." if len(text) > PATH_BYTES else "")
