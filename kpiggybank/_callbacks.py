"""Who wants to hear of what, and what becomes of those who cannot bear it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kpiggybank._lines import StreamEnded
from kpiggybank._wire import RequestFailed

Callback = Callable[[Any], object]

NAMES = ("change", "error", "connected", "disconnected", "reset")


@attrs.define(eq=False)
class Callbacks:
    """Calls whoever wants to hear of something, in the order of registration.

    What a callback raises, or what the Deferred or coroutine that it returned fails with, is told
    as an `error` and disturbs nothing else; an error that nobody hears is logged.
    """

    _log: ClassVar[Logger] = Logger()

    _named: dict[str, list[Callback]] = attrs.field(init=False, repr=False)
    _closed: bool = attrs.field(default=False, init=False)

    @_named.default
    def _nobody_yet(self) -> dict[str, list[Callback]]:
        return {name: [] for name in NAMES}

    def on(self, name: str, callback: Callback) -> None:
        """Call this, too; raises `ValueError` if there is no such name."""
        self._of(name).append(callback)

    def off(self, name: str, callback: Callback | None) -> None:
        """Call this one, or with None all of them, no more; raises as `on` does."""
        callbacks = self._of(name)
        callbacks[:] = [each for each in callbacks if callback is not None and each != callback]

    def close(self) -> None:
        """Tell nothing any more."""
        self._closed = True

    def tell(self, name: str, value: object) -> list[Deferred[Any]]:
        """Call those of that name; returns what some of them wait for, which never fails."""
        return self._tell(name, value, self.tell_error)

    def tell_error(self, failure: Failure) -> None:
        """Call those of `error` with an exception."""
        if self._closed or not self._named["error"]:
            self._log_error("an error that nobody listens for: {error!r}", failure)
        else:
            self._tell("error", failure.value, self._log_raised)

    def _of(self, name: str) -> list[Callback]:
        if name not in self._named:
            raise ValueError(f"no events are named {name!r}, only {', '.join(self._named)}")
        return self._named[name]

    def _tell(
        self, name: str, value: object, trouble: Callable[[Failure], None]
    ) -> list[Deferred[Any]]:
        callbacks = self._named[name]
        waiting = []
        for callback in tuple(callbacks):
            # One of those before may have closed the client, or taken this one off.
            if not self._closed and callback in callbacks:
                slow = _call(callback, value)
                if slow is not None:
                    waiting.append(slow.addErrback(trouble))
        return waiting

    def _log_raised(self, failure: Failure) -> None:
        self._log_error("an error callback failed: {error!r}", failure)

    def _log_error(self, text: str, failure: Failure) -> None:
        # A traceback is of use for what a callback raised only.
        ours = isinstance(failure.value, StreamEnded | RequestFailed)
        trace = {} if ours else {"log_failure": failure}
        self._log.warn(text, error=failure.value, **trace)


def _call(callback: Callback, value: object) -> Deferred[Any] | None:
    # maybeDeferred does the same, and makes a Deferred for each change and callback, where most
    # callbacks are done when they return.
    try:
        result = callback(value)
    except Exception:  # whatever a stranger's code may raise
        return fail()
    return None if result is None else maybeDeferred(lambda: result)
