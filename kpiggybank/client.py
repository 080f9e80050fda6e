"""KPIggyBank's client: the documented HTTP API as functions that return Deferreds."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Generic, TypeVar, cast

import attrs
import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent

from kpiggybank._stream import ChangeStream, StreamEnded
from kpiggybank._wire import REQUESTS_AT_ONCE, RequestFailed, Wire
from kpiggybank.outgoing.bodies import BytesProducer
from kpiggybank.outgoing.connections import Connections
from kpiggybank.outgoing.places import base_url

__all__ = ["AlreadyFollowing", "ClientClosed", "KPIggyBank", "RequestFailed", "StreamEnded"]

T = TypeVar("T")
Event = Mapping[str, Any]
Callback = Callable[[Any], object]

DEFAULT_PORT = 3000
TIMEOUT_SECONDS = 30.0

_EVENTS = "/wsapi/interaction_data"


class ClientClosed(Exception):
    """The client was closed before or during the call."""

    def __str__(self) -> str:
        return "this client is closed"


class AlreadyFollowing(Exception):
    """A change stream of this client is open, or about to be."""

    def __str__(self) -> str:
        return "this client follows the changes already"


class _Saved(msgspec.Struct):
    """The answer to saved events."""

    ids: list[str]


@attrs.define(eq=False)
class _Call(Generic[T]):
    """One call under way, which can be given up with an error of our choice.

    Without this, a cancelled request fails with whatever the layer below makes of the cancelling.
    """

    answer: Deferred[T] = attrs.field(init=False)
    _work: Deferred[T] = attrs.field(init=False)
    _verdict: Exception | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.answer = Deferred(lambda _: self.give_up(CancelledError()))

    def start(self, work: Deferred[T]) -> None:
        self._work = work
        work.addCallbacks(self._succeeded, self._failed)

    def give_up(self, error: Exception) -> None:
        """Cancel the work; the answer is that error."""
        self._verdict = error
        self._work.cancel()

    def _succeeded(self, result: T) -> None:
        self.answer.callback(result)

    def _failed(self, failure: Failure) -> None:
        self.answer.errback(failure if self._verdict is None else self._verdict)


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
        treq: what makes the requests: an object with the method `request` of
            `treq.client.HTTPClient`, for instance a `treq.testing.StubTreq`. Unless told, one that
            keeps connections of its own, which `close` closes.
        reactor: for the time limits and for connections; Twisted's global one unless told.
        timeout: seconds without an answer, or without a byte of its body, after which a call fails.

    Raises:
        ValueError: the server's place is no host or URL, or the time limit is not above zero.
    """

    _log: ClassVar[Logger] = Logger()

    _wire: Wire
    _clock: IReactorTime = attrs.field(repr=False)
    _connections: Connections | None = attrs.field(repr=False)
    _callbacks: dict[str, list[Callback]] = attrs.field(init=False, repr=False)
    _calls: dict[_Call[Any], None] = attrs.field(factory=dict, init=False, repr=False)
    _stream: ChangeStream | None = attrs.field(default=None, init=False, repr=False)
    _closed: bool = attrs.field(default=False, init=False)

    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        treq: Any = None,
        reactor: Any = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be above zero seconds, not {timeout!r}")
        url = base_url(host, port, DEFAULT_PORT)
        if reactor is None:
            # Here and not above: importing it installs it, which is the program's own decision.
            from twisted.internet import reactor
        connections = None
        if treq is None:
            connections = Connections(reactor, REQUESTS_AT_ONCE)
            agent = Agent(reactor, pool=connections)
            treq = HTTPClient(agent, data_to_body_producer=BytesProducer)
        clock = cast(IReactorTime, reactor)
        self.__attrs_init__(Wire(url, treq, clock, timeout), clock, connections)

    @_callbacks.default
    def _nobody_yet(self) -> dict[str, list[Callback]]:
        return {"change": [], "error": []}

    def saveData(self, event_or_list: Event | Sequence[Event]) -> Deferred[list[str]]:
        """Save an event or a list of events, all or none; fires with their ids in the same order.

        It fires once the events are durable. Fails with `TypeError` or `ValueError` for what JSON
        cannot say (NaN, for instance); then nothing was sent.
        """
        return self._begin(self._save(event_or_list))

    def fetchRange(
        self, start: float | None = None, end: float | None = None
    ) -> Deferred[list[dict[str, Any]]]:
        """Fetch the events with timestamps from start to end, by timestamp, as they were saved.

        Both ends are included, and None leaves an end open. Numbers are exact, however large.
        """
        what = "a list of events"
        return self._begin(self._ask(_EVENTS, start, end, list[dict[str, Any]], what))

    def count(self, start: float | None = None, end: float | None = None) -> Deferred[int]:
        """Count the events with timestamps from start to end; both as for `fetchRange`."""
        return self._begin(self._ask(f"{_EVENTS}/count", start, end, int, "a whole number"))

    def followChanges(self) -> Deferred[None]:
        """Open the change stream; what is saved once this has fired comes to `change` callbacks.

        The stream stays open until `close` or until it ends by itself: then `error` callbacks get
        a `StreamEnded`, and followChanges may be called anew. Fails with `AlreadyFollowing` while a
        stream is open or being opened. Cancelling gives up, as long as it has not fired.
        """
        return self._begin(self._follow())

    def on(self, name: str, callback: Callback) -> None:
        """Call this for each event of that name, in the order of registration.

        What a `change` callback raises, or what the Deferred or coroutine that it returned fails
        with, becomes an `error` event and disturbs nothing else.

        Args:
            name: "change", for dicts `{"seq": cursor, "id": id, "doc": event}`, each once and in
                order; or "error", for exceptions. An error that nobody hears is logged.
            callback: gets the one argument.

        Raises:
            ValueError: there is no such name.
        """
        self._named(name).append(callback)

    def off(self, name: str, callback: Callback | None = None) -> None:
        """Stop calling this callback for that name, or with None all of them; unknown is fine.

        Raises:
            ValueError: there is no such name.
        """
        callbacks = self._named(name)
        callbacks[:] = [each for each in callbacks if callback is not None and each != callback]

    def close(self) -> Deferred[None]:
        """Stop for good; fires when the client's own connections are gone.

        Calls under way, and later ones, fail with `ClientClosed`; nothing is told to callbacks any
        more. Closing again is fine. Cancelling changes nothing.
        """
        self._closed = True
        if self._stream is not None:
            self._stream.stop()
            self._stream = None
        # The latest first: otherwise one that waits for its turn would get it, for nothing.
        for call in reversed(tuple(self._calls)):
            call.give_up(ClientClosed())
        return succeed(None) if self._connections is None else self._connections.close()

    def _begin(self, work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        if self._closed:
            work.close()
            return fail(ClientClosed())
        call: _Call[T] = _Call()
        call.start(Deferred.fromCoroutine(work))
        if not call.answer.called:
            self._calls[call] = None
            call.answer.addBoth(self._forget, call)
        return call.answer

    def _forget(self, result: T, call: _Call[Any]) -> T:
        self._calls.pop(call, None)
        return result

    async def _save(self, event_or_list: Event | Sequence[Event]) -> list[str]:
        # Not msgspec: it would make null of NaN without a word.
        text = json.dumps(event_or_list, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        saved = await self._wire.fetch(
            _Saved,
            "the ids of the saved events",
            "POST",
            _EVENTS,
            HTTPStatus.CREATED,
            headers={"Content-Type": "application/json"},
            data=text.encode(),
        )
        return saved.ids

    async def _ask(
        self, path: str, start: float | None, end: float | None, kind: type[T], what: str
    ) -> T:
        ends = {"start": start, "end": end}
        params = {name: str(value) for name, value in ends.items() if value is not None}
        return await self._wire.fetch(kind, what, "GET", path, HTTPStatus.OK, params=params)

    async def _follow(self) -> None:
        if self._stream is not None:
            raise AlreadyFollowing
        stream = ChangeStream(self._clock, self._tell_change, self._tell_end)
        self._stream = stream
        try:
            response = await self._wire.head("GET", f"{_EVENTS}/stream", HTTPStatus.OK)
        except BaseException:
            self._stream = None
            raise
        response.deliverBody(stream)

    def _named(self, name: str) -> list[Callback]:
        if name not in self._callbacks:
            raise ValueError(f"no events are named {name!r}, only {', '.join(self._callbacks)}")
        return self._callbacks[name]

    def _tell(self, name: str, value: object, trouble: Callable[[Failure], None]) -> None:
        callbacks = self._callbacks[name]
        for callback in tuple(callbacks):
            # One of those before may have closed the client, or taken this one off.
            if not self._closed and callback in callbacks:
                maybeDeferred(callback, value).addErrback(trouble)

    def _tell_change(self, change: dict[str, Any]) -> None:
        self._tell("change", change, self._tell_error)

    def _tell_end(self, ended: StreamEnded) -> None:
        self._stream = None
        self._tell_error(Failure(ended))

    def _tell_error(self, failure: Failure) -> None:
        if self._closed or not self._callbacks["error"]:
            self._log_error("an error that nobody listens for: {error!r}", failure)
        else:
            self._tell("error", failure.value, self._log_raised)

    def _log_raised(self, failure: Failure) -> None:
        self._log_error("an error callback failed: {error!r}", failure)

    def _log_error(self, text: str, failure: Failure) -> None:
        # A traceback is of use for what a callback raised only.
        trace = {} if isinstance(failure.value, StreamEnded) else {"log_failure": failure}
        self._log.warn(text, error=failure.value, **trace)
