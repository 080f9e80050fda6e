"""A bank behind its HTTP interface and a client at its door, in memory and on a `Clock`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import attrs
import msgspec
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from kpiggybank.bank import Bank
from kpiggybank.events import Change, Event, EventPage, Page, Range
from kpiggybank.feed import Feed
from kpiggybank.interfaces import IEventBank
from kpiggybank.stores.memory import MemoryStore
from kpiggybank.web.access import Access
from kpiggybank.web.bounds import LIMITS, Limits
from kpiggybank.web.site import BankSite
from kpiggybank.web.wsapi import WsApi

ROOT = "/wsapi/interaction_data"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
NDJSON = "application/x-ndjson"

#: The patience of a door with readers.
STALL_SECONDS = 60.0

T = TypeVar("T")

_StubTreq: Any = StubTreq  # it has no types


def result_of(deferred: Deferred[T]) -> T:
    """What a Deferred has fired with; the test fails if it has not, or with a failure."""
    results: list[T] = []
    failures: list[Failure] = []
    deferred.addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    assert results, "it has not fired"
    return results[0]


def has_fired(deferred: Deferred[Any]) -> bool:
    """Whether a Deferred has its outcome; one that waits for another Deferred has not."""
    outcomes: list[object] = []

    def keep(outcome: T) -> T:
        outcomes.append(outcome)
        return outcome

    deferred.addBoth(keep)
    return bool(outcomes)


def canonical(text: bytes) -> str:
    """JSON in a form that is equal for equal values only: 1 is not 1.0, and integers are exact."""
    return json.dumps(json.loads(text.decode()), sort_keys=True)


def form_of(text: str | bytes) -> bytes:
    """A form as a browser or a writer of the first KPIggyBank sends it."""
    return b"data=" + quote(text, safe="").encode()


def event(id: str, timestamp: float = 0, **fields: Any) -> Event:
    """An event for putting into a store directly."""
    return Event(id, timestamp, msgspec.json.encode({"timestamp": timestamp, **fields}))


@attrs.frozen
class Answer:
    """An answer that has arrived as a whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        """The JSON in the body."""
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason of an error; the test fails if the answer is not formed as errors are."""
        assert self.headers["content-type"] == JSON
        assert self.value.keys() == {"error", "reason"}
        return str(self.value["reason"])

    @property
    def next(self) -> str | None:
        """Where the next page is, from the `Link` header."""
        link = self.headers.get("link")
        if link is None:
            return None
        assert link.startswith("<") and link.endswith('>; rel="next"')
        return link[1:].partition(">")[0]


class Stream(Protocol):
    """The body of an answer that goes on, as far as it has arrived."""

    headers: Mapping[str, str]

    def __init__(self) -> None:
        self.received = b""
        self.taken = 0
        self.end: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """Keep a piece."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep how it ended."""
        self.end = reason

    def take(self) -> bytes:
        """What has arrived since this was last called."""
        new = self.received[self.taken :]
        self.taken = len(self.received)
        return new

    def changes(self) -> list[Any]:
        """The values of the whole lines that have arrived since this or `take` was last called."""
        new = self.take()
        assert new == b"" or new.endswith(b"\r\n")
        return [json.loads(line) for line in new.split(b"\r\n") if line]

    @property
    def ended_well(self) -> bool:
        """Whether the answer was complete by the rules of HTTP."""
        return self.end is not None and self.end.check(ResponseDone) is not None


@attrs.define(eq=False)
class StagedStore(MemoryStore):
    """A store in memory that fails, or takes its time, as a test tells it to.

    Attributes:
        error: what all calls fail with.
        good_calls: how many calls still succeed before that.
        hold: appends are stored, but answered only when this fires.
        calls: how many calls there were.
    """

    error: Exception | None = None
    good_calls: int = 0
    hold: Deferred[None] | None = None
    calls: int = 0

    def append(self, events: Sequence[Event], absent: Sequence[str] = ()) -> Deferred[None]:
        """Append, later perhaps."""
        stored = self._staged(lambda: MemoryStore.append(self, events, absent))
        hold = self.hold
        return stored if hold is None else hold.addCallback(lambda _: stored)

    def read(self, span: Range, page: Page) -> Deferred[EventPage]:
        """Read, perhaps."""
        return self._staged(lambda: MemoryStore.read(self, span, page))

    def get(self, id: str) -> Deferred[Event]:
        """Get, perhaps."""
        return self._staged(lambda: MemoryStore.get(self, id))

    def count(self, span: Range) -> Deferred[int]:
        """Count, perhaps."""
        return self._staged(lambda: MemoryStore.count(self, span))

    def changes(self, since: str, limit: int) -> Deferred[Sequence[Change]]:
        """Tell what changed, perhaps."""
        return self._staged(lambda: MemoryStore.changes(self, since, limit))

    def last(self) -> Deferred[str]:
        """Tell the last cursor, perhaps."""
        return self._staged(lambda: MemoryStore.last(self))

    def _staged(self, work: Callable[[], Deferred[T]]) -> Deferred[T]:
        self.calls += 1
        if self.error is None:
            return work()
        if self.good_calls == 0:
            return fail(self.error)
        self.good_calls -= 1
        return work()


@attrs.define(eq=False)
class Door:
    """The HTTP interface of a bank, with a client that makes real requests to it.

    Attributes:
        store: keeps the events.
        clock: what the bank believes in.
        limits: what clients may cost.
        feed: that of the bank.
        access: what guards the interface, if anything.
    """

    store: IEventBank = attrs.field(factory=MemoryStore)
    clock: Clock = attrs.field(factory=Clock)
    limits: Limits = LIMITS
    bank: Bank = attrs.field(init=False)
    feed: Feed = attrs.field(init=False)
    access: Access | None = None
    _api: WsApi = attrs.field(init=False)
    _treq: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.bank = Bank(self.store, self.clock)
        self.feed = self.bank._feed
        self._api = WsApi(self.bank, self.clock, STALL_SECONDS, self.limits)
        self._treq = _StubTreq(self._api.resource)
        # By itself it serves by a plain Site, which for one thing parses forms.
        self._treq._agent._serverFactory = self.site(Clock())

    def flush(self) -> None:
        """Let everything arrive that is on its way, and all happen that is due."""
        self._treq.flush()
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)
            self._treq.flush()

    def site(self, reactor: Any) -> BankSite:
        """The interface as it stands behind a port."""
        return BankSite(self._api.resource, reactor, self.limits, access=self.access)

    def begin(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Deferred[Any]:
        """Make a request; fires with a treq response, unbuffered, when its head has arrived."""
        answer: Deferred[Any] = self._treq.request(
            method,
            f"http://127.0.0.1:3000{path}",
            headers=headers,
            data=body,
            unbuffered=True,
            allow_redirects=False,
        )
        self.flush()
        return answer

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Make a request that is answered at once."""
        return self.finish(self.begin(method, path, body, headers))

    def finish(self, answer: Deferred[Any]) -> Answer:
        """The whole answer to a request that was begun."""
        response = result_of(answer)
        content = response.content()
        self.flush()
        names = [name.decode().lower() for name, _ in response.headers.getAllRawHeaders()]
        headers = {name: response.headers.getRawHeaders(name)[-1] for name in names}
        return Answer(response.code, headers, result_of(content))

    def get(self, path: str = "") -> Answer:
        """GET a path below that of the events, or a query."""
        return self.request("GET", ROOT + path)

    def post(self, body: bytes, content_type: str = JSON, **headers: str) -> Answer:
        """Post a body; the names of further headers have `_` for `-`."""
        all_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", ROOT, body, {"Content-Type": content_type, **all_headers})

    def save(self, value: Any, key: str | None = None) -> list[str]:
        """Post an event or a list of them, which must be taken; the ids."""
        headers = {} if key is None else {"Idempotency_Key": key}
        answer = self.post(json.dumps(value).encode(), **headers)
        assert answer.status == 201, answer
        ids: list[str] = answer.value["ids"]
        return ids

    def stream(self, query: str = "", **headers: str) -> Stream:
        """Open a stream of changes, whose head must arrive at once."""
        return self.open(f"/stream{query}", **headers)

    def open(self, path: str, **headers: str) -> Stream:
        """Begin to read a long answer, whose head must arrive at once; headers as in `post`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        response = result_of(self.begin("GET", ROOT + path, headers=sent))
        assert response.code == 200
        stream = Stream()
        stream.headers = {
            name.decode().lower(): values[-1].decode()
            for name, values in response.headers.getAllRawHeaders()
        }
        response.deliverBody(stream)
        self.flush()
        return stream

    def leave(self, stream: Stream) -> None:
        """Be a client that goes away."""
        assert stream.transport is not None
        stream.transport.loseConnection()
        self.flush()

    def raw(self, request: bytes) -> bytes:
        """All bytes that a connection of the real site answers to these."""
        site: Any = self.site(Clock())
        connection = site.buildProtocol(None)
        transport: Any = StringTransport()
        transport.loseWriteConnection = transport.loseConnection  # as after a refusal
        connection.makeConnection(transport)
        connection.dataReceived(request)
        answer: bytes = transport.value()
        connection.connectionLost(Failure(ConnectionError("the test is over")))
        return answer
