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
from twisted.web.iweb import INonQueuedRequestFactory
from twisted.web.server import Request, version
from zope.interface import provider

from kpiggybank.web.answers import error_body
from kpiggybank.web.journal import CUT, GONE, OTHER
from kpiggybank.web.patience import Patience

#: The greatest body of a request, in bytes.
MAX_BODY_BYTES = 8 * 2**20
#: How long what a refused client still sends is read and dropped, so that it can see its answer.
LINGER_SECONDS = 5


@provider(INonQueuedRequestFactory)
class BankRequest(Request):
    """A request whose body is counted while it arrives and kept in memory, never in a file.

    Attributes:
        began: when it had arrived as a whole; 0 before that, and for one that is in the journal.
        route: the route that answers it, as it is written in the table of routes.
        id: its name in the log, which the answer carries.
    """

    began = 0.0
    route = OTHER
    id = b""
    channel: Any  # a `Connection`, and None when the client has gone
    content: Any

    def gotLength(self, length: int | None) -> None:
        """Refuse a declared excess before it is read."""
        self.content = BytesIO()
        if length is not None and length > MAX_BODY_BYTES:
            # Otherwise the channel would ask for the body that was just refused.
            self.requestHeaders.removeHeader(b"Expect")
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body where there is room for it."""
        if self.content.tell() + len(data) > MAX_BODY_BYTES:
            self._refuse_body()
        else:
            self.content.write(data)

    def _refuse_body(self) -> None:
        self.channel.refuse(413, "too_large", f"a body may have {MAX_BODY_BYTES} bytes")

    def process(self) -> None:
        """Answer the request, unless its method or path are not even text."""
        journal = self.channel.site.journal
        self.began = journal.clock()
        self.id = journal.id_for(self.requestHeaders.getRawHeaders(b"x-request-id"))
        try:
            self.method.decode("ascii")
            unquote_to_bytes(self.path).decode()
        except UnicodeDecodeError:
            self.channel.refuse(400, "bad_request", "the method or the path is not UTF-8")
        else:
            self._process()

    def _process(self) -> None:
        if self.path == b"*":
            super().process()
            return
        # What twisted.web does, but it looks for the resource, and writes the date each time.
        self.site = site = self.channel.site
        self.setHeader(b"Server", version)
        self.setHeader(b"Date", site.date)
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
            head = [
                b"%b %d %b" % (self.clientproto, self.code, self.code_message),
                b"X-Request-Id: %b" % self.id,
            ]
            for name, values in self.responseHeaders.getAllRawHeaders():
                head += [b"%b: %b" % (name, value) for value in values]
            tail = b"" if self.method == b"HEAD" else body
            self.sentLength = len(tail)
            self.channel.write(b"%b\r\n\r\n%b" % (b"\r\n".join(head), tail))
        self.finish()

    def write(self, data: bytes) -> None:
        """Write a piece of an answer; its head has the request's id."""
        if not self.startedWriting:
            self.setHeader(b"X-Request-Id", self.id)
        super().write(data)

    def connectionLost(self, reason: Failure) -> None:
        """Note that nobody waits for the rest of the answer."""
        if self.began and not self.finished:
            self.channel.site.journal.ended(self, CUT if self.startedWriting else GONE)
        super().connectionLost(reason)

    def getRequestHostname(self) -> bytes:
        """A fixed name: no route depends on it, and a client's may be anything."""
        return b"localhost"


class Connection(Patience, HTTPChannel):
    """One client's connection; its `site` is a `BankSite`."""

    site: Any
    transport: Any
    _refused = False
    _host: IAddress | None = None
    _linger: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Be known to the site."""
        super().connectionMade()
        self.site.connections.add(self)

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
        id = self.site.journal.refused(*self._asked(), status, len(body))
        self.transport.write(
            b"HTTP/1.1 %d %s\r\nX-Request-Id: %s\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%s"
            % (status, HTTPStatus(status).phrase.encode(), id, len(body), body)
        )
        self.setTimeout(None)
        self._linger = self.callLater(LINGER_SECONDS, self.transport.abortConnection)
        if self.isSecure():  # TLS cannot close one half
            self.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def _asked(self) -> tuple[bytes, bytes]:
        """The method and the path of the request that is refused, as far as they have arrived."""
        if not self.requests:
            return b"", b""
        request = self.requests[-1]
        request.began = 0.0
        if request.path is not None:
            return request.method, request.path
        # They are not there where the first line is none.
        return getattr(self, "_command", b""), getattr(self, "_path", b"").partition(b"?")[0]

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

    def wind_up(self) -> None:
        """Close now, or after the answer to the request that has begun to arrive."""
        self.persistent = False
        for request in self.requests:
            if not request.startedWriting:
                request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        if not self.requests:
            self.loseConnection()
