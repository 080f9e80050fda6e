"""What a client may cost, and how a connection ends."""

from __future__ import annotations

import re

from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from kpiggybank.web.answers import COMMON_HEADERS, POLICY
from kpiggybank.web.bounds import BODY, HEAD, IDLE, WORK
from kpiggybank.web.patience import Patience
from kpiggybank.web.refusals import RefusingChannel
from kpiggybank.web.request import BankRequest
from kpiggybank.web.sending import unread

#: Connections beyond the limit that are told so; more than that are cut without a word.
SPARE_CONNECTIONS = 100

#: How long a TLS client has to close its half, too, when all has been sent to it.
CLOSE_SECONDS = 1.0

#: Requests of one client, all sent at once, that are answered before others have their turn.
REQUESTS_A_TURN = 4

#: A target as it is sent to proxies.
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)(.*)", re.IGNORECASE | re.DOTALL)

#: How long the first request of a connection is waited for, when all are to be closed.
FIRST_REQUEST_SECONDS = 1.0


class Connection(Patience, RefusingChannel):
    """One client's connection; its `site` is a `BankSite`."""

    _phase = HEAD
    _host: IAddress | None = None
    _peer: IAddress | None = None
    _made = 0.0
    _ahead = 0  # requests that were answered in this turn while more had come
    _next_turn: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Be known to the site."""
        self._made = self.seconds()
        super().connectionMade()
        site = self.site
        site.connections.add(self)
        self.expect(site.limits.head_seconds)
        excess = len(site.connections) - site.limits.connections
        if excess > 0:
            site.tell_of_excess()
        if excess > SPARE_CONNECTIONS:
            self.transport.abortConnection()
        elif excess > 0:
            self.refuse(503, "unavailable", "too many connections are open")

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Write the head of an answer that is not written in one piece."""
        headers.setRawHeaders(b"Date", [self.site.date])
        for name, value in COMMON_HEADERS:
            if name != POLICY or not headers.hasHeader(POLICY):
                headers.setRawHeaders(name, [value])
        super().writeHeaders(version, code, reason, headers)

    def seconds(self) -> float:
        """See `Patience.seconds`."""
        now: float = self.site.reactor.seconds()
        return now

    def getHost(self) -> IAddress:
        """Our own address, for which the kernel is asked once and not for every request."""
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def getPeer(self) -> IAddress:
        """The client's address, which is made once and not for every request."""
        if self._peer is None:
            self._peer = super().getPeer()
        return self._peer

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Be forgotten."""
        for call in (self._linger, self._next_turn):
            if call is not None and call.active():
                call.cancel()
        super().connectionLost(reason)
        # It knows us, and what has arrived of a body: that would stay until cycles are looked for.
        self._transferDecoder = None
        self.forget()
        self.site.connection_lost(self)

    def loseConnection(self) -> None:
        """Close; where TLS waits for the client to do the same, it waits for a moment only."""
        self.site.outbox.send(self)
        more = self._buffer or any(self._dataBuffer)
        if more and not self._refused and unread(self.transport):
            self.hear_no_more()
            return
        super().loseConnection()
        if self.isSecure() and self._linger is None:
            # Below TLS it is closed as soon as the client has taken what was sent.
            self._linger = self.callLater(CLOSE_SECONDS, self.transport.transport.loseConnection)

    def allHeadersReceived(self) -> None:
        """Take a target in the form for proxies as what it is, too, which HTTP/1.1 demands."""
        absolute = None if self._path.startswith(b"/") else _ABSOLUTE.fullmatch(self._path)
        if absolute is not None:
            host, path = absolute.groups()
            self._path = path if path.startswith(b"/") else b"/" + path
            self.requests[-1].requestHeaders.setRawHeaders(b"Host", [host])
        super().allHeadersReceived()

    def dataReceived(self, data: bytes) -> None:
        """Read on, unless the client was refused."""
        self.site.outbox.send(self)  # what follows may be answered at once
        if not self._refused:
            super().dataReceived(data)
            self._watch()

    def rawDataReceived(self, data: bytes) -> None:
        """Take more of a body, or keep what comes after it for later; but not without end."""
        super().rawDataReceived(data)
        # The size of a chunk may say that it is too large, before any of it has come.
        left = 0 if self.length is not None else getattr(self._transferDecoder, "length", 0)
        if left > self.site.limits.body_bytes and not self._refused:
            self.requests[-1].refuse_body()
        # By itself twisted.web does not look at what came in one piece with the end of a body, nor
        # at anything while an answer is not taken.
        if self._handlingRequest and not self._refused:
            kept = sum(map(len, self._dataBuffer))
            if kept > self._optimisticEagerReadSize:
                self._networkProducer.pauseProducing()

    def requestDone(self, request: BankRequest) -> None:
        """Go on to the next request, which may have arrived; but not before answers are taken."""
        request.release()
        self._phase = WORK
        # By itself twisted.web would answer, and keep, all that a client asks and never reads; and
        # all that it asks at once before anybody else is heard.
        self.paused = self._waitingForTransport
        if self._buffer or any(self._dataBuffer):  # after a body there is a rest, empty perhaps
            self._ahead += 1
            if self._ahead >= REQUESTS_A_TURN and not self.paused:
                self.paused = True
                self._next_turn = self.callLater(0, self._go_on)
        super().requestDone(request)
        if self.paused:
            self._networkProducer.pauseProducing()
        self._watch()

    def _go_on(self) -> None:
        self._ahead = 0
        self.paused = False
        self._networkProducer.resumeProducing()
        self.dataReceived(b"")

    def resumeProducing(self) -> None:
        """Go on: answers have been taken."""
        super().resumeProducing()
        if self.paused and not (self._next_turn is not None and self._next_turn.active()):
            self._go_on()

    def _watch(self) -> None:
        """Give what is waited for its time, from when the wait for it began."""
        if self._refused:
            return
        if self._handlingRequest:
            phase = WORK
        elif not self.line_mode:
            phase = BODY
        elif self.requests or (self._buffer and not self.paused) or self._phase is HEAD:
            phase = HEAD
        else:
            phase = IDLE
        if phase is not self._phase:
            self._phase = phase
            self.expect(getattr(self.site.limits, phase) if phase else None)

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Whether another request may follow; none while the site closes."""
        if self.site.draining:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        persistent: bool = super().checkPersistence(request, version)
        return persistent

    def is_new(self) -> bool:
        """Whether it was only just made: its first request may be on its way."""
        return not self.requests and self.seconds() - self._made < FIRST_REQUEST_SECONDS

    def wind_up(self) -> None:
        """Close now, or after the answer to the request that has begun to arrive."""
        self.persistent = False
        for request in self.requests:
            if not request.startedWriting:
                request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        if not self.requests:
            self.loseConnection()
