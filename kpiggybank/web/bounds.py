"""The limits of what clients may cost, and how much of that is taken at a time."""

from __future__ import annotations

import attrs

from kpiggybank.events import EventLimits

#: What says that the daemon lives, which it shall while all else is turned away; and streams, which
#: last for days, and of which each costs a connection.
_UNCOUNTED = frozenset(
    {
        b"/wsapi/ping",
        b"/wsapi/interaction_data/stream",
        b"/__heartbeat__",
        b"/__lbheartbeat__",
        b"/__version__",
    }
)


@attrs.frozen
class Limits:
    """What clients may cost.

    Attributes:
        body_bytes: of one request, as sent and as expanded.
        head_seconds: in which the head of a request must have arrived.
        body_seconds: in which its body must have arrived after that.
        idle_seconds: for which a connection may wait for its next request.
        connections: that may be open.
        requests: that may be in work, or may be written to the store.
        request_bytes: that the bodies of these may have together.
        events: the limits of the events in a request.
    """

    body_bytes: int = 8 * 2**20
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 60.0
    connections: int = 10_000
    requests: int = 2_000
    request_bytes: int = 64 * 2**20
    events: EventLimits = attrs.field(factory=EventLimits)


#: The usual limits.
LIMITS = Limits()


#: What a connection waits for; the attributes of the limits of that time. Work takes what it takes.
HEAD, BODY, IDLE, WORK = "head_seconds", "body_seconds", "idle_seconds", ""


@attrs.define(eq=False)
class Work:
    """The requests in work: how many there are, and the bytes of their bodies.

    Attributes:
        requests: how many are counted.
        bytes: of their bodies, also of those that are still arriving.
    """

    _limits: Limits
    requests: int = attrs.field(default=0, init=False)
    bytes: int = attrs.field(default=0, init=False)

    @property
    def full(self) -> bool:
        """Whether there may be no more of them."""
        return self.requests >= self._limits.requests

    def hold(self, size: int) -> bool:
        """Count some bytes, if they may be held."""
        # One body by itself may always be as large as bodies may be.
        if self.bytes + size > max(self._limits.request_bytes, self._limits.body_bytes):
            return False
        self.bytes += size
        return True


def is_counted(path: bytes) -> bool:
    """Whether a request for this path is one of those of which there may be so many."""
    return path not in _UNCOUNTED and path.rstrip(b"/") not in _UNCOUNTED
