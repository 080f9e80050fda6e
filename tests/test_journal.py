"""The journal: ids of requests, and the lines of the access log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import provider

from kpiggybank.web.journal import PATH_BYTES, Journal, visible
from kpiggybank.web.site import BankSite
from tests.socket_client import HalfCloseableTransport
from tests.web_client import ROOT, Door, StagedStore


@pytest.fixture
def lines() -> Iterator[list[LogEvent]]:
    """The events of the access log."""
    events: list[LogEvent] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == "kpiggybank.access":
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


class Wire:
    """A connection of a site that keeps an access log, on a clock that stands still."""

    def __init__(self, door: Door | None = None, access_log: bool = True) -> None:
        self.door = door or Door()
        self.clock = Clock()
        self.journal = Journal(access_log, self.clock.seconds)
        self.clock.advance(1)
        site: Any = BankSite(self.door._api.resource, self.clock, journal=self.journal)
        self.connection = site.buildProtocol(None)
        self.transport: Any = HalfCloseableTransport()
        self.connection.makeConnection(self.transport)

    def ask(self, first: bytes, head: bytes = b"", body: bytes = b"") -> bytes:
        """Make a request; returns what is answered at once."""
        self.transport.clear()
        length = b"Content-Length: %d\r\n" % len(body)
        request = b"%b HTTP/1.1\r\nHost: x\r\n%b%b\r\n%b" % (first, head, length, body)
        self.connection.dataReceived(request)
        answer: bytes = self.transport.value()
        return answer

    def lose(self) -> None:
        """Be a client that goes."""
        self.connection.connectionLost(Failure(ConnectionError("it has gone")))


def id_of(answer: bytes) -> str:
    """The id that an answer carries."""
    (id,) = re.findall(rb"\r\nX-Request-Id: (.*)\r\n", answer)
    return str(id.decode())


def test_line(lines: list[LogEvent]) -> None:
    """A line has the method, the path without its query, the status, bytes, time, and the id."""
    wire = Wire()
    answer = wire.ask(b"GET /wsapi/interaction_data/count?start=1&token=secret")
    (line,) = lines
    id = id_of(answer)
    assert formatEvent(line) == f"GET {ROOT}/count 200 1 bytes 0.0 ms {id} whole"
    answer = wire.ask(b"HEAD /nowhere")
    assert formatEvent(lines[1]) == f"HEAD /nowhere 404 0 bytes 0.0 ms {id_of(answer)} whole"
    assert id != id_of(answer)
    wire.lose()
    assert len(lines) == 2


def test_no_line_unless_told(lines: list[LogEvent]) -> None:
    """Without the access log there is none, but ids are."""
    assert id_of(Wire(access_log=False).ask(b"GET /wsapi/ping"))
    assert lines == []


@pytest.mark.parametrize("route", ["__heartbeat__", "__lbheartbeat__", "__version__"])
@pytest.mark.parametrize("spelling", [b"GET /%b", b"GET /%b/", b"GET /%b?x=1", b"HEAD /%b"])
def test_heartbeats_are_no_lines(route: str, spelling: bytes, lines: list[LogEvent]) -> None:
    """What machines ask every few seconds is not in the log, however they spell it."""
    assert b" 200 OK" in Wire().ask(spelling % route.encode())
    assert lines == []


@pytest.mark.parametrize("id", ["a", "A-b_c.9", "x" * 64])
def test_id_of_the_client(id: str) -> None:
    """An id that is fit is taken over, for short answers, errors and streams."""
    for path in (b"/wsapi/ping", b"/nowhere", f"{ROOT}/stream".encode()):
        wire = Wire()
        assert id_of(wire.ask(b"GET " + path, b"X-Request-Id: %b\r\n" % id.encode())) == id
        wire.lose()


@pytest.mark.parametrize(
    "head", [b"", b"a b", b"x" * 65, b"\xc3\xa4", b"{x}", b"a\r\nX-Request-Id: b"]
)
def test_unfit_id_of_the_client(head: bytes) -> None:
    """Any other is not, nor one of two."""
    id = id_of(Wire().ask(b"GET /wsapi/ping", b"X-Request-Id: %b\r\n" % head))
    assert re.fullmatch("[0-9a-f]{8}-1", id)


def test_stream_is_a_line_when_it_ends(lines: list[LogEvent]) -> None:
    """A stream is told of once its client has gone, with what it was sent and how long it took."""
    wire = Wire()
    wire.door.save({"timestamp": 1})
    wire.ask(f"GET {ROOT}/stream?since=0".encode())
    assert lines == []
    wire.clock.advance(2.5)
    wire.lose()
    (line,) = lines
    assert (line["status"], line["milliseconds"], line["end"]) == (200, 2500.0, "cut")
    assert line["bytes"] > 50


def test_client_that_goes_before_its_answer(lines: list[LogEvent]) -> None:
    """Who has gone before there is a status is a line, too; who never asked is none."""
    wire = Wire(Door(StagedStore(hold=Deferred())))
    kind = b"Content-Type: application/json\r\n"
    wire.ask(f"POST {ROOT}".encode(), kind, b'{"timestamp":1}')
    wire.lose()
    (line,) = lines
    assert (line["status"], line["bytes"], line["end"]) == (499, 0, "gone")
    half = Wire()
    half.connection.dataReceived(b"POST /wsapi/ping HTTP/1.1\r\nContent-Length: 9\r\n\r\nx")
    half.lose()
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (b"nonsense\r\n\r\n", "- - 400"),
        (b"GET /wsapi/%ff HTTP/1.1\r\n\r\n", "GET /wsapi/%ff 400"),
        (b"POST /x?y HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", "POST /x 413"),
        (b"GET /" + b"x" * 20000, "- - 414"),
    ],
    ids=["nonsense", "no text", "too large", "too long"],
)
def test_refused(request_: bytes, text: str, lines: list[LogEvent]) -> None:
    """What is refused before any route is looked for is one line, and has an id."""
    wire = Wire()
    wire.connection.dataReceived(request_)
    answer = wire.transport.value()
    wire.lose()
    (line,) = map(formatEvent, lines)
    assert line.startswith(f"{text} ")
    assert id_of(answer) in line
    assert "\n" not in line and line.isprintable()


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /x HTTP/1.1\r\nX-Request-Id: mine\r\nContent-Length: 99999999\r\n\r\n",
        b"GET /wsapi/%ff HTTP/1.1\r\nX-Request-Id: mine\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Request-Id: mine\r\nno header\r\n\r\n",
    ],
    ids=["too large", "no text", "no header"],
)
def test_id_of_what_is_refused(request_: bytes, lines: list[LogEvent]) -> None:
    """The id that came with a request is also that of its refusal."""
    wire = Wire()
    wire.connection.dataReceived(request_)
    assert id_of(wire.transport.value()) == "mine"
    wire.lose()
    assert [line["request_id"] for line in lines] == ["mine"]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        (b"/%0aGET", "/%0aGET"),
        (b"/a\n\r\t b", r"/a\x0a\x0d\x09\x20b"),
        (b"/{x}\\x41", r"/{x}\x5cx41"),
        (b"/\x7f\xe2\x80\xa8", r"/\x7f\xe2\x80\xa8"),
        (b"x" * (PATH_BYTES + 1), "x" * PATH_BYTES + "..."),
    ],
    ids=str,
)
def test_visible(path: bytes, word: str) -> None:
    """Whatever a path holds, in the log it is one word."""
    assert visible(path) == word
