"""What a client may cost, and how a connection ends."""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.iweb import INonQueuedRequestFactory
from twisted.web.server import Request
from zope.interface import provider

from kpiggybank.web.answers import (
    COMMON_HEAD,
    COMMON_HEADERS,
    RETRY_AFTER_SECONDS,
    error_body,
)
from kpiggybank.web.bounds import BODY, HEAD, IDLE, WORK, is_counted
from kpiggybank.web.patience import Patience

#: Connections beyond the limit that are told so; more than that are cut without a word.
SPARE_CONNECTIONS = 100
#: How long what a refused client still sends is read and dropped, so that it can see its answer.
LINGER_SECONDS = 5

#: How long the first request of a connection is waited for, when all are to be closed.
FIRST_REQUEST_SECONDS = 1.0


@provider(INonQueuedRequestFactory)
class BankRequest(Request):
    """A request whose body is counted while it arrives and kept in memory, never in a file."""

    channel: Any  # a `Connection`, and None when the client has gone
    content: Any
    _work: Any = None  # where it is counted, if it is
    _held = 0  # bytes that are counted

    def gotLength(self, length: int | None) -> None:
        """Refuse a declared excess before it is read."""
        self.content = BytesIO()
        site = self.channel.site
        if length is not None and length > site.limits.body_bytes:
            self._refuse_body()
        elif length != 0 and site.work.full:
            self.refuse_work()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body where there is room for it."""
        site = self.channel.site
        if self.content.tell() + len(data) > site.limits.body_bytes:
            self._refuse_body()
        elif site.work.hold(len(data)):
            self._held += len(data)
            self.content.write(data)
        else:
            self.refuse_work()

    def _refuse_body(self) -> None:
        # Otherwise the channel would ask for the body that is just refused.
        self.requestHeaders.removeHeader(b"Expect")
        limit = self.channel.site.limits.body_bytes
        self.channel.refuse(413, "too_large", f"a body may have {limit} bytes")

    def refuse_work(self) -> None:
        """Turn the request away, as there are too many of them."""
        self.requestHeaders.removeHeader(b"Expect")
        self.channel.refuse(503, "unavailable", "too many requests are in work")

    def release(self) -> None:
        """Be in work no more, and keep no body."""
        if self._held:
            self.channel.site.work.bytes -= self._held
            self._held = 0
        if self._work is not None:
            self._work.requests -= 1
            self._work = None

    def connectionLost(self, reason: Failure) -> None:
        """Be in work no more: the client has gone."""
        self.release()
        super().connectionLost(reason)

    def process(self) -> None:
        """Answer the request, unless its method or path are not even text."""
        try:
            self.method.decode("ascii")
            path = unquote_to_bytes(self.path).decode()
        except UnicodeDecodeError:
            self.channel.refuse(400, "bad_request", "the method or the path is not UTF-8")
            return
        if "\0" in path:
            self.channel.refuse(400, "bad_request", "there is a NUL in the path")
            return
        self._process()

    def _process(self) -> None:
        # What twisted.web does, but it looks for the resource, and writes the date each time.
        self.site = site = self.channel.site
        if is_counted(self.path):
            if site.work.full:
                self.refuse_work()
                return
            self._work = site.work
            site.work.requests += 1
        self.setHeader(b"Date", site.date)
        if (self.method, self.path) == (b"OPTIONS", b"*"):
            self._handleStar()
            return
        self.prepath, self.postpath = [], [*map(unquote_to_bytes, self.path[1:].split(b"/"))]
        try:
            self.render(site.resource)
        except Exception:
            self.processingFailed(Failure())

    def answer(self, body: bytes | None) -> None:
        """End the answer: with this body, to the length of which its head is set, or as it is.

        Nothing happens where the client has gone.
        """
        if self.channel is None:
            return
        if body is not None:
            # All in one piece, and without the many ways of `write`, of which none is needed. It is
            # sent at the end of the turn: the answers to a group of appends follow each other there
            # so closely that a reader of many need not be woken for each of them.
            self.startedWriting = 1
            head = [b"%b %d %b" % (self.clientproto, self.code, self.code_message)]
            for name, values in self.responseHeaders.getAllRawHeaders():
                head += [b"%b: %b" % (name, value) for value in values]
            tail = b"" if self.method == b"HEAD" else body
            self.channel.write(b"%b\r\n%b\r\n%b" % (b"\r\n".join(head), COMMON_HEAD, tail))
        self.finish()

    def getRequestHostname(self) -> bytes:
        """A fixed name: no route depends on it, and a client's may be anything."""
        return b"localhost"


class Connection(Patience, HTTPChannel):
    """One client's connection; its `site` is a `BankSite`."""

    site: Any
    transport: Any
    _refused = False
    _phase = HEAD
    _host: IAddress | None = None
    _linger: IDelayedCall | None = None
    _made = 0.0

    def connectionMade(self) -> None:
        """Be known to the site."""
        self._made = self.seconds()
        super().connectionMade()
        site = self.site
        site.connections.add(self)
        self.expect(site.limits.head_seconds)
        excess = len(site.connections) - site.limits.connections
        if excess > SPARE_CONNECTIONS:
            self.transport.abortConnection()
        elif excess > 0:
            self.refuse(503, "unavailable", "too many connections are open")

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Write the head of an answer that is not written in one piece."""
        for name, value in COMMON_HEADERS:
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

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Be forgotten."""
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        super().connectionLost(reason)
        self.forget()
        self.site.connection_lost(self)

    def refuse(self, status: int, error: str, reason: str) -> None:
        """Answer now, drop whatever the client still sends, and close.

        Closing at once would make the client's own kernel throw the answer away when it is still
        sending. So only our half is closed, and the rest is read for a while and dropped.
        """
        if self._refused:
            return
        self._refused = True
        body = error_body(error, reason)
        later = b"Retry-After: %d\r\n" % RETRY_AFTER_SECONDS if status == 503 else b""
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n"
            b"%bConnection: close\r\n\r\n%b"
            % (status, HTTPStatus(status).phrase.encode(), COMMON_HEAD, len(body), later, body)
        )
        for request in self.requests:
            request.release()
            request.content = BytesIO()  # what has arrived of it is of no use any more
        self.expect(None)
        self._linger = self.callLater(LINGER_SECONDS, self.transport.abortConnection)
        if self.isSecure():  # TLS cannot close one half
            self.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # The one place where twisted.web refuses what it cannot parse; its own answer has no body.
        self.refuse(400, "bad_request", "this is not HTTP as it should be")

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a header, or a first line, that is too long to be kept."""
        status = 431 if self.requests else 414
        self.refuse(status, "too_large", f"a line of the head may have {self.MAX_LENGTH} bytes")

    def dataReceived(self, data: bytes) -> None:
        """Read on, unless the client was refused."""
        if not self._refused:
            super().dataReceived(data)
            self._watch()

    def requestDone(self, request: BankRequest) -> None:
        """Go on to the next request, which may have arrived; but not before answers are taken."""
        request.release()
        self._phase = WORK
        # By itself twisted.web would answer, and keep, all that a client asks and never reads.
        self.paused = self._waitingForTransport
        super().requestDone(request)
        if self.paused:
            self._networkProducer.pauseProducing()
        self._watch()

    def resumeProducing(self) -> None:
        """Go on: answers have been taken."""
        super().resumeProducing()
        if self.paused:
            self.paused = False
            self.dataReceived(b"")

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

    def lineReceived(self, line: bytes) -> None:
        """Read on, unless the client was refused within this very piece of data."""
        if not self._refused:
            super().lineReceived(line)

    def allContentReceived(self) -> None:
        """Answer the request, unless it was refused."""
        if not self._refused:
            super().allContentReceived()

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
