"""A channel that can turn away what it gets, such that the client sees why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from io import BytesIO
from math import inf
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers

from kpiggybank.web.answers import COMMON_HEAD, RETRY_AFTER_SECONDS, error_body
from kpiggybank.web.formats import JSON
from kpiggybank.web.sending import unread

#: How long what a refused client still sends is read and dropped, so that it can see its answer;
#: longer, if an answer before it is still being read.
LINGER_SECONDS = 5


class RefusingChannel(HTTPChannel):
    """A channel whose refusals have a body and can be read; its `site` is a `BankSite`."""

    site: Any
    transport: Any
    _refused = False
    _linger: IDelayedCall | None = None

    def refuse(self, status: int, error: str, reason: str) -> None:
        """Answer with an error now, drop whatever the client still sends, and close."""
        # What the head of the answer has by now tells a browser whether its page may see it.
        headers = self.requests[-1].responseHeaders if self.requests else Headers()
        if status == 503:
            headers.setRawHeaders(b"Retry-After", [b"%d" % RETRY_AFTER_SECONDS])
        self.turn_away(status, error_body(error, reason), headers)

    def turn_away(self, status: int, body: bytes, headers: Headers) -> None:
        """Answer with this error, as JSON, and more headers; otherwise as `refuse`."""
        if self._refused:
            return
        method, path = self._asked()
        route = self.site.route_of(path)
        id = self._id()
        self.site.journal.refused(method, path, route, status, len(body), id)
        headers.setRawHeaders(b"Date", [self.site.date])
        headers.setRawHeaders(b"X-Request-Id", [id])
        headers.setRawHeaders(b"Content-Type", [JSON])
        headers.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
        headers.setRawHeaders(b"Connection", [b"close"])
        phrase = HTTPStatus(status).phrase.encode()
        lines = [
            b"%b: %b\r\n" % (name, value)
            for name, values in headers.getAllRawHeaders()
            for value in values
        ]
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n%b%b\r\n%b" % (status, phrase, COMMON_HEAD, b"".join(lines), body)
        )
        for request in self.requests:
            request.release()
            request.content = BytesIO()  # what has arrived of it is of no use any more
        self.hear_no_more()

    def hear_no_more(self) -> None:
        """Close, when what there is has been sent.

        Closing at once would make the client's own kernel throw an answer away when it is still
        sending. So only our half is closed, and the rest is read for a while and dropped.
        """
        self._refused = True
        self.setTimeout(None)
        self._linger = self.callLater(LINGER_SECONDS, self._linger_on)
        if self.isSecure():  # TLS cannot close one half
            self.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def _linger_on(self, before: float = inf, patience: float = 0) -> None:
        left = unread(self.transport)
        if left < before:
            patience = self.site.limits.idle_seconds
        if left and patience > 0:  # an answer before is being read
            rest = partial(self._linger_on, left, patience - LINGER_SECONDS)
            self._linger = self.callLater(LINGER_SECONDS, rest)
        else:
            self.transport.abortConnection()

    def first_line(self) -> tuple[bytes, bytes, bytes]:
        """The method, the path and the protocol of the request whose head has just arrived."""
        path: bytes = self._path
        return self._command, path.partition(b"?")[0], self._version

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

    def _id(self) -> bytes:
        """The id of that request; its client's own, if that has arrived."""
        id_for: Callable[[Sequence[bytes] | None], bytes] = self.site.journal.id_for
        if not self.requests:
            return id_for(None)
        request = self.requests[-1]
        return request.id or id_for(request.requestHeaders.getRawHeaders(b"X-Request-Id"))

    def _respondToBadRequestAndDisconnect(self) -> None:
        # The one place where twisted.web refuses what it cannot parse; its own answer has no body.
        count, size = self.maxHeaders, self.totalHeadersSize
        if self._receivedHeaderCount > count or self._receivedHeaderSize > size:
            self.refuse(431, "too_large", f"a head may have {count} headers and {size} bytes")
        else:
            self.refuse(400, "bad_request", "this is not HTTP as it should be")

    def headerReceived(self, line: bytes) -> bool:
        """Keep a header, if it is one."""
        try:
            fit: bool = super().headerReceived(line)
        except ValueError:  # a length of more digits than Python reads
            self.refuse(413, "too_large", "no body may have so many bytes")
            return False
        return fit

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a header, or a first line, that is too long to be kept."""
        status = 431 if self.requests else 414
        self.refuse(status, "too_large", f"a line of the head may have {self.MAX_LENGTH} bytes")

    def lineReceived(self, line: bytes) -> None:
        """Read on, unless the client was refused within this very piece of data."""
        if not self._refused:
            super().lineReceived(line)

    def allContentReceived(self) -> None:
        """Answer the request, unless it was refused."""
        if not self._refused:
            super().allContentReceived()
