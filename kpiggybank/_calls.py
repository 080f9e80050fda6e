"""The calls of a client that are under way, and how they are given up."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

T = TypeVar("T")


class ClientClosed(Exception):
    """The client was closed before or during the call."""

    def __str__(self) -> str:
        return "this client is closed"


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


@attrs.define(eq=False)
class Calls:
    """Those under way; when they are closed, they end with `ClientClosed`, and no others begin."""

    _under_way: dict[_Call[Any], None] = attrs.field(factory=dict, init=False, repr=False)
    _closed: bool = attrs.field(default=False, init=False)

    def begin(self, work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        """The outcome of the work; cancelling it stops the work."""
        if self._closed:
            work.close()
            return fail(ClientClosed())
        call: _Call[T] = _Call()
        call.start(Deferred.fromCoroutine(work))
        if not call.answer.called:
            self._under_way[call] = None
            call.answer.addBoth(self._forget, call)
        return call.answer

    def close(self) -> None:
        """Give them all up, for good."""
        self._closed = True
        # The latest first: otherwise one that waits for its turn would get it, for nothing.
        for call in reversed(tuple(self._under_way)):
            call.give_up(ClientClosed())

    def _forget(self, result: T, call: _Call[Any]) -> T:
        self._under_way.pop(call, None)
        return result
