"""What a request may cost, and how it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http import _MalformedChunkedDataError
from twisted.web.iweb import INonQueuedRequestFactory
from twisted.web.server import Request
from zope.interface import provider

from kpiggybank.web.answers import COMMON_HEAD, PAGE_HEAD, POLICY
from kpiggybank.web.bounds import is_counted
from kpiggybank.web.journal import CUT, GONE, OTHER
from kpiggybank.web.query import parameters

#: Chunks of a body of which nobody asks how small they are, and the bytes that all must have on
#: average. To cut out a chunk takes as long as to read hundreds of bytes.
FREE_CHUNKS, CHUNK_BYTES = 1000, 16

#: Of a body that is larger, so much is taken from the kernel at once: twice what Twisted takes.
_LARGE_BYTES = 2**17


@provider(INonQueuedRequestFactory)
class BankRequest(Request):
    """A request whose body is counted while it arrives and kept in memory, never in a file.

    Attributes:
        fields: the values of its headers, by the names as `twisted.web.http_headers` writes them,
            such as `Content-Type`. To ask the headers themselves takes twenty times as long.
        began: when it had arrived as a whole; 0 before that, and for one that is in the journal.
        route: the route that answers it, as it is written in the table of routes.
        id: its name in the log, which the answer carries.
    """

    fields: dict[bytes, Sequence[bytes]]
    began = 0.0
    route = OTHER
    id = b""
    channel: Any  # a `Connection`, and None when the client has gone
    content: Any
    _work: Any = None  # where it is counted, if it is
    _held = 0  # bytes that are counted
    _pieces = 0  # in which the body has come
    _denial: bytes | None = None  # the body of the answer to who may not make this request
    _answering: Deferred[Any] | None = None

    def parseCookies(self) -> None:
        """Leave them: nobody wants any."""

    def gotLength(self, length: int | None) -> None:
        """Refuse who may not ask, and a declared excess, before any of the body is read."""
        self.content = BytesIO()
        if length is not None and length > _LARGE_BYTES:
            self.channel.transport.bufferSize = _LARGE_BYTES
        self.fields = dict(self.requestHeaders.getAllRawHeaders())
        site = self.channel.site
        if site.access is not None:
            self.method, self.path, self.clientproto = self.channel.first_line()
            self._denial = site.access.check(self)
        coding = self.fields.get(b"Transfer-Encoding")
        if coding and (length is not None or len(coding) > 1 or self._is_of_1_0()):
            # Whoever is between us and the client may see another end of it.
            self.channel.refuse(400, "bad_request", "'Transfer-Encoding' takes chunked")
            return
        if length == 0:
            return
        if self._denial is not None:
            self.requestHeaders.removeHeader(b"Expect")
            self.channel.turn_away(self.code, self._denial, self.responseHeaders)
        elif length is not None and length > site.limits.body_bytes:
            self.refuse_body()
        elif site.work.full:
            self.refuse_work()

    def _is_of_1_0(self) -> bool:
        return bool(self.channel.first_line()[2] == b"HTTP/1.0")

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body where there is room for it."""
        site = self.channel.site
        self._pieces += 1
        if self.channel.length is None and self._pieces > self._most_chunks():
            reason = f"after {FREE_CHUNKS} chunks, they must have {CHUNK_BYTES} bytes on average"
            self.channel.refuse(400, "bad_request", reason)
            raise _MalformedChunkedDataError(reason)  # so that no more of them are cut out
        if self.content.tell() + len(data) > site.limits.body_bytes:
            self.refuse_body()
        elif site.work.hold(len(data)):
            self._held += len(data)
            self.content.write(data)
        else:
            self.refuse_work()

    def _most_chunks(self) -> int:
        size: int = self.content.tell()
        return FREE_CHUNKS + size // CHUNK_BYTES

    def refuse_body(self) -> None:
        """Turn the request away, as its body is too large."""
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

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Find out what is asked for; whoever takes a body reads it himself."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, asked = path.partition(b"?")
        self.args = parameters(asked) if asked else {}
        self.process()

    def process(self) -> None:
        """Answer the request, unless its method or path are not even text."""
        journal = self.channel.site.journal
        self.began = journal.clock()
        self.id = journal.id_for(self.fields.get(b"X-Request-Id"))
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
        if self._denial is not None:
            self.route = site.route_of(self.path)
            self.answer(self._denial)
            return
        if is_counted(self.path):
            if site.work.full:
                self.refuse_work()
                return
            self._work = site.work
            site.work.requests += 1
        if (self.method, self.path) == (b"OPTIONS", b"*"):
            self._handleStar()
            return
        try:
            self.render(site.resource)
        except Exception:
            self.processingFailed(Failure())

    def wait_for(self, answering: Deferred[Any]) -> None:
        """Cancel this if the client goes before it is answered."""
        self._answering = answering

    def answer(self, body: bytes | None) -> None:
        """End the answer: with this body, to the length of which its head is set, or as it is.

        Nothing happens where the client has gone.
        """
        if self.channel is None:
            return
        if body is not None:
            # All in one piece, and without the many ways of `write`, of which none is needed. What
            # was made at once goes to the transport, which joins what a client is answered that
            # asks much at once.
            self.startedWriting = 1
            first = (self.clientproto, self.code, self.code_message, self.channel.site.date)
            head = [b"%b %d %b\r\nDate: %b\r\nX-Request-Id: %b" % (*first, self.id)]
            common = COMMON_HEAD
            for name, values in self.responseHeaders.getAllRawHeaders():
                head += [b"%b: %b" % (name, value) for value in values]
                if name == POLICY:
                    common = PAGE_HEAD
            tail = b"" if self.method == b"HEAD" else body
            self.sentLength = len(tail)
            whole = b"%b\r\n%b\r\n%b" % (b"\r\n".join(head), common, tail)
            if self._answering is not None:
                self.channel.site.outbox.put(self.channel, whole)
            else:
                self.channel.write(whole)
        self.finish()

    def write(self, data: bytes) -> None:
        """Write a piece of an answer; its head has the request's id."""
        if not self.startedWriting:
            self.setHeader(b"X-Request-Id", self.id)
        super().write(data)

    def connectionLost(self, reason: Failure) -> None:
        """Be in work no more, and note that nobody waits for the rest of the answer."""
        self.release()
        if self.began and not self.finished:
            self.channel.site.journal.ended(self, CUT if self.startedWriting else GONE)
        super().connectionLost(reason)
        if self._answering is not None:
            self._answering.cancel()
            self._answering = None
        # Who streams knows the request, and is known by it: what was not sent would stay, with the
        # transport, until cycles are looked for.
        self.producer = self.transport = None

    def getRequestHostname(self) -> bytes:
        """A fixed name: no route depends on it, and a client's may be anything."""
        return b"localhost"
