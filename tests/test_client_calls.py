"""Where the client looks for its server, and what its calls ask and bring."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from kpiggybank.client import KPIggyBank
from tests.client_stage import EVENT, Stage, failure_of, success_of


@pytest.mark.parametrize(
    ("place", "host", "uri"),
    [
        (("127.0.0.1", 3000), b"127.0.0.1:3000", b"/wsapi/interaction_data/count"),
        (("kpi.example",), b"kpi.example:3000", b"/wsapi/interaction_data/count"),
        (("::1", 3000), b"[::1]:3000", b"/wsapi/interaction_data/count"),
        (("[::1]", 3000), b"[::1]:3000", b"/wsapi/interaction_data/count"),
        (("http://127.0.0.1:3000",), b"127.0.0.1:3000", b"/wsapi/interaction_data/count"),
        (("http://kpi.example",), b"kpi.example", b"/wsapi/interaction_data/count"),
        (("http://x:81/bank/",), b"x:81", b"/bank/wsapi/interaction_data/count"),
        (("http://[::1]:3000/",), b"[::1]:3000", b"/wsapi/interaction_data/count"),
        # Only if it is asked over TLS is this port not worth a word.
        (("https://kpi.example:443",), b"kpi.example", b"/wsapi/interaction_data/count"),
    ],
)
def test_place(stage: Stage, place: tuple[Any, ...], host: bytes, uri: bytes) -> None:
    """Host and port, or a URL with a prefix, lead to the server that they name."""
    stage.server.answers.append((200, b"0"))
    success_of(stage.client(*place).count())
    request = stage.server.requests[0]
    assert (request.getHeader(b"host"), request.uri) == (host, uri)


@pytest.mark.parametrize(
    "place",
    [
        ("",),
        ("ftp://host",),
        ("http://",),
        ("http://host:3000", 3000),
        ("http://host:port",),
        ("http://host/?query",),
        ("http://name:secret@host",),
        ("host:3000",),
        ("host/path",),
        ("host", 65536),
    ],
)
def test_place_that_is_none(stage: Stage, place: tuple[Any, ...]) -> None:
    """What names no server is refused at once, and no password gets into the message."""
    with pytest.raises(ValueError) as caught:
        stage.client(*place)
    assert "secret" not in str(caught.value)


def test_time_limit_that_is_none(stage: Stage) -> None:
    """A limit of zero seconds would fail every call, so it is refused."""
    with pytest.raises(ValueError, match="timeout"):
        stage.client("host", timeout=0)


def test_import_leaves_the_reactor_alone() -> None:
    """Importing the client installs no reactor: which one is the program's decision."""
    code = "import kpiggybank.client, sys; sys.exit('twisted.internet.reactor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("events", [EVENT, [EVENT, {"timestamp": 2**70, "mood": "🐷"}]])
def test_save(stage: Stage, events: Any) -> None:
    """Events go out as a JSON body, exactly; the ids come back."""
    stage.server.answers.append((201, b'{"ok":true,"ids":["a","b"]}'))
    assert success_of(stage.api.saveData(events)) == ["a", "b"]
    (request,), (body,) = stage.server.requests, stage.server.bodies
    assert (request.method, request.uri) == (b"POST", b"/wsapi/interaction_data")
    assert request.getHeader(b"content-type") == b"application/json"
    assert json.loads(body) == events


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"timestamp": float("nan")}, ValueError),
        ({"timestamp": 1, "text": "\ud800"}, ValueError),
        ({"timestamp": 1, "what": object()}, TypeError),
    ],
)
def test_save_what_json_cannot_say(stage: Stage, event: Any, error: type[Exception]) -> None:
    """What JSON cannot say fails the call; it is not sent as something else."""
    failure_of(stage.api.saveData(event), error)
    assert stage.server.requests == []


def test_fetch_range(stage: Stage) -> None:
    """A range comes as the list of its events, with exact numbers."""
    events = [{"timestamp": 2**64, "n": 10**30 + 1, "f": 1.5, "text": "🐷"}, EVENT]
    stage.server.answers.append((200, json.dumps(events).encode()))
    assert success_of(stage.api.fetchRange()) == events
    assert stage.server.requests[0].uri == b"/wsapi/interaction_data"


def test_fetch_range_between(stage: Stage) -> None:
    """Both ends of a range are sent as they are, a zero too."""
    stage.server.answers.append((200, b"[]"))
    success_of(stage.api.fetchRange(0, 1.5))
    assert stage.server.requests[0].args == {b"start": [b"0"], b"end": [b"1.5"]}


def test_fetch_range_with_an_open_end(stage: Stage) -> None:
    """An end that is None is not sent."""
    stage.server.answers.append((200, b"[]"))
    success_of(stage.api.fetchRange(end=2**70))
    assert stage.server.requests[0].args == {b"end": [b"%d" % 2**70]}


def test_count(stage: Stage) -> None:
    """A count is an int, of the range asked for."""
    stage.server.answers.append((200, b"12\n"))
    assert success_of(stage.api.count(1, 2)) == 12
    assert stage.server.requests[0].uri == b"/wsapi/interaction_data/count?start=1&end=2"


WHERE = ["user_agent.browser:Firefox", "lang:de & fr"]
ASKED = [b"user_agent.browser:Firefox", b"lang:de & fr"]


def test_fetch_range_where(stage: Stage) -> None:
    """What must be true of the events is asked for, each by itself, beside the range."""
    stage.server.answers.append((200, b"[]"))
    success_of(stage.api.fetchRange(1, where=WHERE))
    assert stage.server.requests[0].args == {b"start": [b"1"], b"where": ASKED}


def test_count_where(stage: Stage) -> None:
    """So it is for a count."""
    stage.server.answers.append((200, b"3"))
    assert success_of(stage.api.count(where=WHERE)) == 3
    assert stage.server.requests[0].args == {b"where": ASKED}


def test_follow_where(stage: Stage) -> None:
    """So it is for a stream, again when it is opened again."""
    stage.api.followChanges(where=WHERE)
    stage.say(b"")
    stage.cut()
    stage.come_back()
    assert [request.args[b"where"] for request in stage.server.requests] == [ASKED, ASKED]


def test_changes_where(stage: Stage) -> None:
    """And for a loop."""
    first = Deferred.fromCoroutine(stage.api.changes(where=WHERE).__anext__())
    assert stage.server.requests[0].args[b"where"] == ASKED
    first.cancel()
    failure_of(first, CancelledError)


@pytest.mark.parametrize(
    "call",
    [
        lambda api: api.fetchRange(where="a:b"),
        lambda api: api.count(where="a:b"),
        lambda api: api.followChanges(where="a:b"),
        lambda api: Deferred.fromCoroutine(api.changes(where="a:b").__anext__()),
    ],
)
def test_where_that_is_a_text(stage: Stage, call: Callable[[KPIggyBank], Deferred[Any]]) -> None:
    """A single text is a mistake: it would be asked letter by letter."""
    failure_of(call(stage.api), TypeError)
    assert stage.server.requests == []
