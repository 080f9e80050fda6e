"""Time limits of connections that cost next to nothing as long as all goes well."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.protocols.policies import TimeoutMixin


class Patience(TimeoutMixin):
    """A `TimeoutMixin` whose timer is left alone while it is put off, stopped and set again.

    All of which a connection does with each request. The timer looks when it was last put off only
    when it rings, and is set for the rest then. To be mixed in before the class that has the
    original, which also has `callLater`; the period must always be the same, or None.
    """

    _timer: IDelayedCall | None = None
    _heard: float = 0.0

    def seconds(self) -> float:
        """The time of the clock that `callLater` goes by."""
        raise NotImplementedError

    def resetTimeout(self) -> None:
        """Put the limit off: something was heard."""
        self._heard = self.seconds()

    def setTimeout(self, period: float | None) -> Any:
        """Set the limit, or with None lift it; returns the one before."""
        before: Any = self.timeOut
        self.timeOut: Any = period
        if period is not None:
            self._heard = self.seconds()
            if self._timer is None:
                self._timer = self.callLater(period, self._look)
        return before

    def forget(self) -> None:
        """Leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self.timeOut is None:
            return  # it was lifted, and who sets it again sets a timer as well
        left = self._heard + self.timeOut - self.seconds()
        if left > 0:
            self._timer = self.callLater(left, self._look)
        else:
            self.timeoutConnection()
