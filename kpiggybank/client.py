"""KPIggyBank's client: the documented HTTP API as functions that return Deferreds."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar, cast
from weakref import WeakSet

import attrs
import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.client import Agent

from kpiggybank._callbacks import Callback, Callbacks
from kpiggybank._calls import Calls, ClientClosed
from kpiggybank._lines import StreamEnded
from kpiggybank._retry import Persistence
from kpiggybank._stream import AlreadyFollowing, ChangeStream
from kpiggybank._wire import (
    EVENTS,
    REQUESTS_AT_ONCE,
    RequestFailed,
    Wire,
    token_headers,
    where_params,
)
from kpiggybank.mint import Mint
from kpiggybank.outgoing.bodies import BytesProducer
from kpiggybank.outgoing.connections import Connections
from kpiggybank.outgoing.places import base_url
from kpiggybank.shield import shield

__all__ = ["AlreadyFollowing", "ClientClosed", "KPIggyBank", "RequestFailed", "StreamEnded"]

T = TypeVar("T")
Event = Mapping[str, Any]

DEFAULT_PORT = 3000
TIMEOUT_SECONDS = 30.0


class _Saved(msgspec.Struct):
    """The answer to saved events."""

    ids: list[str]


@attrs.define(eq=False, init=False)
class KPIggyBank:
    """A KPIggyBank server, as seen by a program that feeds it, asks it and follows it.

    Cancelling a Deferred that a method returned gives the call up and cuts its connection; what the
    server had received by then may have been done. A call fails with `RequestFailed` for any status
    but that of success, with `TimeoutError` (of `twisted.internet.defer`) when the time limit has
    passed, with `ClientClosed`, or with an error of Twisted if there is no connection.

    Args:
        host: name or address of the server, or its URL (http or https), which may have a path.
        port: of the server, 3000 unless told; not beside a URL.
        token: is shown with every request, where the server wants one.
        treq: what makes the requests: an object with the method `request` of
            `treq.client.HTTPClient`, for instance a `treq.testing.StubTreq`. Unless told, one that
            keeps connections of its own, which `close` closes.
        reactor: for the time limits and for connections; Twisted's global one unless told.
        timeout: seconds without an answer, or without a byte of its body, after which a call fails.

    Raises:
        ValueError: the server's place is no host or URL, the token cannot be one, or the time limit
            is not above zero.
    """

    _wire: Wire
    _clock: IReactorTime = attrs.field(repr=False)
    _connections: Connections | None = attrs.field(repr=False)
    _callbacks: Callbacks = attrs.field(factory=Callbacks, init=False, repr=False)
    _mint: Mint = attrs.field(factory=Mint, init=False, repr=False)
    _calls: Calls = attrs.field(factory=Calls, init=False, repr=False)
    #: That of `followChanges`.
    _following: ChangeStream | None = attrs.field(default=None, init=False, repr=False)
    #: All of them. Weak: a stream of `changes` that nobody reads any more is gone by itself.
    _streams: WeakSet[ChangeStream] = attrs.field(factory=WeakSet, init=False, repr=False)
    _closed: bool = attrs.field(default=False, init=False)

    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        token: str | None = None,
        treq: Any = None,
        reactor: Any = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be above zero seconds, not {timeout!r}")
        url = base_url(host, port, DEFAULT_PORT)
        headers = token_headers(token)
        if reactor is None:
            # Here and not above: importing it installs it, which is the program's own decision.
            from twisted.internet import reactor
        connections = None
        if treq is None:
            connections = Connections(reactor, REQUESTS_AT_ONCE)
            agent = Agent(reactor, pool=connections)
            treq = HTTPClient(agent, data_to_body_producer=BytesProducer)
        clock = cast(IReactorTime, reactor)
        self.__attrs_init__(Wire(url, treq, clock, timeout, headers), clock, connections)

    def saveData(
        self,
        event_or_list: Event | Sequence[Event],
        *,
        retries: int = 5,
        initial_delay: float = 0.5,
        max_delay: float = 10.0,
    ) -> Deferred[list[str]]:
        """Save an event or a list of events, all or none; fires with their ids in the same order.

        It fires once the events are durable. When there is no connection or no answer, when the
        answer is cut, or when the server says "not now" (408, 425, 429, and 500 or above), it tries
        again; all tries carry the same idempotency key, so that nothing is stored twice. Fails as
        the last try did.

        Args:
            event_or_list: what JSON cannot say (NaN, for instance) fails with `TypeError` or
                `ValueError`; then nothing was sent.
            retries: tries after the first one; each has the client's time limit.
            initial_delay: seconds before the first of them, which double with each further one. A
                part of each pause is up to chance.
            max_delay: seconds of such a pause at the most. What the server's `Retry-After` asks for
                is waited in addition.
        """
        return self._calls.begin(self._save(event_or_list, retries, initial_delay, max_delay))

    def fetchRange(
        self,
        start: float | None = None,
        end: float | None = None,
        *,
        where: Sequence[str] = (),
    ) -> Deferred[list[dict[str, Any]]]:
        """Fetch the events with timestamps from start to end, by timestamp, as they were saved.

        Both ends are included, and None leaves an end open. Numbers are exact, however large. Of
        those events, it brings the ones for which each `path:value` of `where` is true.
        """
        what = "a list of events"
        return self._calls.begin(self._ask(EVENTS, start, end, where, list[dict[str, Any]], what))

    def count(
        self,
        start: float | None = None,
        end: float | None = None,
        *,
        where: Sequence[str] = (),
    ) -> Deferred[int]:
        """Count the events with timestamps from start to end; all as for `fetchRange`."""
        return self._calls.begin(
            self._ask(f"{EVENTS}/count", start, end, where, int, "a whole number")
        )

    def followChanges(
        self, since: str | None = None, *, where: Sequence[str] = ()
    ) -> Deferred[None]:
        """Open the change stream; what is saved once this has fired comes to `change` callbacks.

        The stream goes on until `close`: when its connection is lost or falls silent, it is opened
        again after a pause, and resumes after the last change that was delivered. Each change is
        told once and in order, and the next one when the Deferreds have fired that the callbacks
        returned: a slow callback makes the server wait. What cannot be mended, an answer of 4xx or
        lines that make no sense, is told to `error`; then followChanges may be called anew.

        Fails with `AlreadyFollowing` while there is such a stream, and if it cannot be opened this
        first time. Cancelling gives up, as long as it has not fired.

        Args:
            since: the cursor to begin after: that of a change, a `StreamEnded` or "connected". "0"
                is before the first change of all, and None is now.
            where: texts `path:value`; only events for which all of them are true are told.
        """
        if self._closed:
            return fail(ClientClosed())
        if self._following is not None:
            return fail(AlreadyFollowing())
        stream = self._following = self._new_stream(since, where)
        delivering = Deferred.fromCoroutine(self._deliver(stream))
        delivering.addErrback(self._ended, stream)
        return stream.opened

    def changes(
        self, since: str | None = None, *, where: Sequence[str] = ()
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The changes as an asynchronous iterator: `async for change in api.changes(): ...`.

        A stream of its own, with a connection of its own, that is opened when the loop begins and
        otherwise behaves as that of `followChanges`. Its loop is what makes the server wait; what
        cannot be mended, or that it cannot be opened, is raised from it, and `ClientClosed` as
        soon as the client is closed. Leaving the loop in any way cuts the connection; an iterator
        that is kept beyond its loop is ended by its `aclose`.

        Args:
            since: as for `followChanges`.
            where: as for `followChanges`.
        """
        stream = self._new_stream(since, where)
        if self._closed:
            stream.stop(ClientClosed())
        return stream.changes()

    def on(self, name: str, callback: Callback) -> None:
        """Call this for each event of that name, in the order of registration.

        What a callback raises, or what the Deferred or coroutine that it returned fails with,
        becomes an `error` event and disturbs nothing else.

        Args:
            name: "change", for dicts `{"seq": cursor, "id": id, "doc": event}`; or "error", for
                exceptions: a callback has raised, or the stream has ended for good. An error that
                nobody hears is logged. For the streams of `changes` as well: "connected", each
                time one is open, for its cursor, or None where the server tells none;
                "disconnected", for the `StreamEnded` that says why it is not any more; and "reset",
                for a dict `{"reset": cursor, "reason": text}`: changes are missing before the next
                one, because the server does not know them any more.
            callback: gets the one argument.

        Raises:
            ValueError: there is no such name.
        """
        self._callbacks.on(name, callback)

    def off(self, name: str, callback: Callback | None = None) -> None:
        """Stop calling this callback for that name, or with None all of them; unknown is fine.

        Raises:
            ValueError: there is no such name.
        """
        self._callbacks.off(name, callback)

    def close(self) -> Deferred[None]:
        """Stop for good; fires when the client's own connections are gone.

        Calls under way, later ones and loops over `changes` fail with `ClientClosed`; nothing is
        told to callbacks any more. Closing again is fine. Cancelling changes nothing.
        """
        self._closed = True
        self._callbacks.close()
        for stream in tuple(self._streams):
            stream.stop(ClientClosed())
        self._calls.close()
        return succeed(None) if self._connections is None else self._connections.close()

    async def _save(
        self,
        event_or_list: Event | Sequence[Event],
        retries: int,
        initial_delay: float,
        max_delay: float,
    ) -> list[str]:
        persistence = Persistence(retries, initial_delay, max_delay)
        # Not msgspec: it would make null of NaN without a word.
        text = json.dumps(event_or_list, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body = text.encode()
        # In order of time, as stores like it; the prefix tells it from the ids that they make.
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"c-{self._mint()}"}

        def save() -> Coroutine[Deferred[Any], Any, _Saved]:
            return self._wire.fetch(
                _Saved,
                "the ids of the saved events",
                "POST",
                EVENTS,
                HTTPStatus.CREATED,
                headers=headers,
                data=body,
            )

        saved = await persistence.insist(self._clock, save, HTTPStatus.CREATED)
        return saved.ids

    async def _ask(
        self,
        path: str,
        start: float | None,
        end: float | None,
        where: Sequence[str],
        kind: type[T],
        what: str,
    ) -> T:
        ends = {"start": start, "end": end}
        params = [(name, str(value)) for name, value in ends.items() if value is not None]
        params += where_params(where)
        return await self._wire.fetch(kind, what, "GET", path, HTTPStatus.OK, params=params)

    def _new_stream(self, since: str | None, where: Sequence[str]) -> ChangeStream:
        cursor = None if since == "now" else since
        stream = ChangeStream(self._wire, self._clock, self._callbacks.tell, cursor, where)
        self._streams.add(stream)
        return stream

    async def _deliver(self, stream: ChangeStream) -> None:
        async for change in stream.changes():
            if slow := self._callbacks.tell("change", change):
                # It is not ours to cancel what a callback does.
                await stream.wait(shield(gatherResults(slow)))

    def _ended(self, failure: Failure, stream: ChangeStream) -> None:
        if self._following is stream:
            self._following = None
        if not stream.opened.called:
            stream.opened.errback(failure)
        elif not stream.stopped:
            self._callbacks.tell_error(failure)
