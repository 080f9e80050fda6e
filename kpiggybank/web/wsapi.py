"""The HTTP interface: its routes, and what each of them answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import attrs
import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import NotFound
from werkzeug.http import parse_accept_header

from kpiggybank.about import About, about
from kpiggybank.bank import NOW, Bank
from kpiggybank.events import Deposit, Event
from kpiggybank.interfaces import InvalidCursor, StoreDamaged
from kpiggybank.web.answers import (
    RETRY_AFTER_SECONDS,
    Overloaded,
    answer,
    answer_failure,
)
from kpiggybank.web.bounds import LIMITS, Limits
from kpiggybank.web.documents import add_documents
from kpiggybank.web.figures import FiguresApi
from kpiggybank.web.formats import FORMATS
from kpiggybank.web.health import examine
from kpiggybank.web.intake import Intake
from kpiggybank.web.outlet import Outlet, Stalled
from kpiggybank.web.query import BadQuery, Query
from kpiggybank.web.ranges import Ranges
from kpiggybank.web.request import BankRequest
from kpiggybank.web.routes import Routes
from kpiggybank.web.streams import LINES, STREAM_FORMATS, StreamFormat, StreamWriter
from kpiggybank.words import one_line

#: Where a stream begins, so that a client that loses it before any change knows where to go on.
CURSOR_HEADER = b"KPIggyBank-Cursor"

_KEY = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_ROOT = "/wsapi/interaction_data"
_ROWS = f"{_ROOT}/rows"

#: `Minted` ids have their own way.
_encode = msgspec.json.Encoder(enc_hook=attrgetter("json")).encode


@attrs.define(eq=False, slots=False)  # Klein keeps its bound copy on the instance
class WsApi:
    """The routes of a bank.

    Args:
        bank: answers for everything; its store is open.
        clock: for the patience with slow readers.
        stall_seconds: that patience.
        limits: what clients may cost.
        about: what runs here.
        figures: the metrics, where they are offered here as well.
    """

    _bank: Bank
    _clock: IReactorTime
    _stall_seconds: float
    _limits: Limits = LIMITS
    _about: About = attrs.field(factory=about)
    _figures: FiguresApi | None = None
    _intake: Intake = attrs.field(init=False)
    _ranges: Ranges = attrs.field(init=False)

    _log = Logger()
    app = Klein()
    app.url_map.strict_slashes = False  # a trailing slash is the same route
    app.url_map.merge_slashes = False  # two are another one, not a redirect
    add_documents(app)

    @_intake.default
    def _its_intake(self) -> Intake:
        return Intake(self._clock, self._limits)

    @_ranges.default
    def _its_ranges(self) -> Ranges:
        return Ranges(self._bank, self._clock, self._stall_seconds)

    @property
    def resource(self) -> Routes:
        """All routes as one resource."""
        return Routes(self.app, self.failed)

    @app.route(_ROOT, methods=["POST"])
    def deposit(self, request: BankRequest) -> Deferred[bytes]:
        """Store events; answers with their ids once all are stored."""
        key = _key(request)
        deposit = self._intake.read(request)
        if isinstance(deposit, Deferred):
            return deposit.addCallback(self._store, request, key)
        return self._store(deposit, request, key)

    def _store(self, deposit: Deposit, request: Request, key: str | None) -> Deferred[bytes]:
        appends, limits = self._bank.appends, self._limits
        if appends.waiting >= limits.requests or (
            appends.waiting and appends.bytes + deposit.texts.size > limits.request_bytes
        ):
            raise Overloaded("too much is waiting to be stored")

        def stored(ids: Sequence[str]) -> bytes:
            return answer(request, _encode({"ok": True, "ids": ids}), 201)

        return self._bank.deposit(deposit, key).addCallback(stored)

    @app.route(_ROOT, methods=["GET"])
    def events(self, request: Request) -> Deferred[bytes | None]:
        """A range of events, or the one whose `id` is given."""
        query = Query(request.args)
        id = query.text("id")
        if id is not None:
            return self._bank.get(id).addCallback(self._result, request)
        form = FORMATS[query.choice("format", *FORMATS)]
        return self._ranges.tell(request, _ROOT, query, form)

    def _result(self, event: Event, request: Request) -> bytes:
        return answer(request, b'{"results":%b}' % event.json)

    @app.route(_ROWS, methods=["GET"])
    def rows(self, request: Request) -> Deferred[bytes | None]:
        """A range of events as rows."""
        return self._ranges.tell(request, _ROWS, Query(request.args), FORMATS["rows"])

    def _outlet(self, request: Request) -> Outlet:
        return Outlet(request, self._clock, self._stall_seconds)

    @app.route(f"{_ROOT}/count", methods=["GET"])
    async def count(self, request: Request) -> bytes:
        """How many events a range holds."""
        query = Query(request.args)
        return answer(request, _encode(await self._bank.count(query.span, query.where)))

    @app.route(f"{_ROOT}/last", methods=["GET"])
    async def last(self, request: Request) -> bytes:
        """The event of the greatest timestamp, or null."""
        event = await self._bank.last()
        return answer(request, b"null" if event is None else event.json)

    @app.route(f"{_ROOT}/stream", methods=["GET"])
    async def stream(self, request: Any) -> None:
        """Changes as they happen: until somebody goes, or what was asked for is told."""
        query = Query(request.args)
        form = _stream_format(request, query)
        heartbeat = query.heartbeat
        finite = query.choice("feed", "continuous", "normal") == "normal"
        begin = self._bank.catch_up if finite else self._bank.follow
        follower = await begin(_since(request, query), query.where, query.stream_limit)
        request.setHeader(b"Content-Type", form.content_type)
        request.setHeader(b"Cache-Control", b"no-cache")
        request.setHeader(b"X-Accel-Buffering", b"no")
        request.setHeader(CURSOR_HEADER, follower.cursor.encode())
        if request.method == b"HEAD":
            return
        with follower, self._outlet(request) as outlet:
            await outlet.write(form.opening(follower.cursor))
            await follower.tell(StreamWriter(form, outlet), heartbeat)
            pending = await self._bank.pending(follower.cursor) if finite else None
            await outlet.write(form.farewell(follower.cursor, pending))

    @app.route("/wsapi/ping", methods=["GET"])
    def ping(self, request: Request) -> bytes:
        """A sign of life."""
        return answer(request, b"pong", content_type=b"text/plain")

    @app.route("/__heartbeat__", methods=["GET"])
    async def heartbeat(self, request: Request) -> bytes:
        """Whether the store works, after a round trip to it, and what else there is to know."""
        checks, failures = await examine(self._bank, self._clock)
        if not failures:
            return answer(request, _encode({"ok": True, "checks": checks}))
        failed = {"ok": False, "error": "unavailable", "reason": "; ".join(failures)}
        request.setHeader(b"Retry-After", b"%d" % RETRY_AFTER_SECONDS)
        return answer(request, _encode({**failed, "checks": checks}), 503)

    @app.route("/__lbheartbeat__", methods=["GET"])
    def process_heartbeat(self, request: Request) -> bytes:
        """Whether the process answers."""
        return answer(request, b'{"ok":true}')

    @app.route("/__version__", methods=["GET"])
    def version(self, request: Request) -> bytes:
        """What runs here."""
        known = attrs.asdict(self._about, filter=lambda attribute, value: value != "")
        return answer(request, _encode(known))

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: Request) -> bytes:
        """All metrics."""
        if self._figures is None:
            raise NotFound
        return await self._figures.metrics(request)

    @app.handle_errors(Exception)
    def failed(self, request: Any, failure: Failure) -> Any:
        """The one border where failures become answers."""
        if not request.startedWriting:
            return answer_failure(request, failure)
        # The outlet has aborted the connection; finishing the answer would make it look complete.
        if failure.check(Stalled):
            request.site.journal.stalled[request.route] += 1
            self._log.info("an answer was cut: {reason}", reason=failure.getErrorMessage())
        elif failure.check(StoreDamaged):
            self._log.warn("an answer was cut: {reason}", reason=one_line(str(failure.value)))
        elif failure.check(InvalidCursor):
            self._log.warn("a stream was cut: its place is in a database that is gone")
        else:
            self._log.failure("an answer was cut short", failure)
        # Its frames would keep what was to be sent until cycles are looked for.
        failure.cleanFailure()
        return request.notifyFinish().addErrback(lambda reason: None)


def _key(request: BankRequest) -> str | None:
    """The idempotency key, if there is one."""
    keys = request.fields.get(b"Idempotency-Key")
    if keys is None:
        return None
    if not _KEY.fullmatch(keys[-1]):
        raise BadQuery("'Idempotency-Key' takes 1 to 64 of A-Z, a-z, 0-9, _ and -")
    return keys[-1].decode()


def _since(request: BankRequest, query: Query) -> str:
    """Where a stream shall begin."""
    # A browser that lost a stream asks for the same URL again, and tells by this where it was.
    last = request.fields.get(b"Last-Event-Id", ())
    if not any(last):
        since = query.text("since")
        return NOW if since is None else since
    try:
        (cursor,) = last
        return cursor.decode()
    except ValueError:
        raise BadQuery("'Last-Event-ID' is given more than once, or is not UTF-8") from None


def _stream_format(request: Request, query: Query) -> StreamFormat:
    """How a stream shall be written."""
    if query.text("format") is not None:
        return STREAM_FORMATS[query.choice("format", *STREAM_FORMATS)]
    accepted = parse_accept_header(request.getHeader("accept"), MIMEAccept)
    by_type = {form.content_type.decode(): form for form in STREAM_FORMATS.values()}
    # Of what a client likes as much, the first of ours, unless it names another one.
    return by_type[accepted.best_match(by_type, LINES.content_type.decode())]
