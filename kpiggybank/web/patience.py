"""Time limits of connections that cost next to nothing as long as all goes well."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.protocols.policies import TimeoutMixin


class Patience(TimeoutMixin):
    """A `TimeoutMixin` whose limits are absolute: bytes that come do not put them off.

    The timer is left alone while the limit is put off or lifted, all of which a connection does
    with each request. It looks only when it rings, and is set for the rest then. To be mixed in
    before the class that has the original, which also has `callLater`.
    """

    _timer: IDelayedCall | None = None
    _due: float | None = None

    def seconds(self) -> float:
        """The time of the clock that `callLater` goes by."""
        raise NotImplementedError

    def expect(self, seconds: float | None) -> None:
        """End the connection after so many seconds from now, with None never."""
        if seconds is None:
            self._due = None
            return
        self._due = self.seconds() + seconds
        if self._timer is None:
            self._timer = self.callLater(seconds, self._look)
        elif self._timer.getTime() > self._due:
            self._timer.reset(seconds)

    def resetTimeout(self) -> None:
        """Nothing: a byte now and then is no reason to wait on."""

    def setTimeout(self, period: float | None) -> Any:
        """Lift the limit with None; no other is set in this way."""
        if period is None:
            self.expect(None)

    def forget(self) -> None:
        """Leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._due is None:
            return  # it was lifted, and who sets it again sets a timer as well
        left = self._due - self.seconds()
        if left > 0:
            self._timer = self.callLater(left, self._look)
        else:
            self.timeoutConnection()
