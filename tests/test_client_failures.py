"""What the client makes of wrong answers, of none, and of being told to give up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,
)

from kpiggybank.client import (
    KPIggyBank,
    RequestFailed,
)
from tests.client_stage import CALLS, EVENT, LINE, Stage, every_call, failure_of, success_of


@every_call
def test_error_answer(stage: Stage, call: Callable[[KPIggyBank], Deferred[Any]]) -> None:
    """Another status fails the call with what the server said about it."""
    stage.server.answers.append((503, b'{"error":"unavailable","reason":"the disk is full"}'))
    error = failure_of(call(stage.api), RequestFailed)
    assert (error.status, error.error, error.reason) == (503, "unavailable", "the disk is full")
    assert str(error) == "503 unavailable: the disk is full"


def test_error_answer_over_lines(stage: Stage) -> None:
    """What the server said, perhaps quoting somebody, is one line that a log can take."""
    stage.server.answers.append((404, rb'{"error":"a\nb","reason":"\u001b[2K x\u2028y\r\n"}'))
    error = failure_of(stage.api.count(), RequestFailed)
    assert (error.error, error.reason) == ("a b", "[2K x y")


@pytest.mark.parametrize("status", [202, 204, 302, 304, 404])
def test_status_that_is_no_success(stage: Stage, status: int) -> None:
    """Only the documented status is a success, and redirects are not followed."""
    stage.server.answers.append((status, b""))
    assert failure_of(stage.api.saveData(EVENT), RequestFailed).status == status
    assert len(stage.server.requests) == 1


def test_error_answer_of_somebody_else(stage: Stage) -> None:
    """An error page in between is told by its status and a short piece of it, on one line."""
    stage.server.answers.append((502, b"<h1>Bad\n\tGateway\x00\xff</h1>" + b"x" * 1000))
    error = failure_of(stage.api.count(), RequestFailed)
    assert str(error).startswith("502 Bad Gateway: <h1>Bad Gateway \ufffd</h1>xxx")
    assert len(str(error)) < 250


def test_error_answer_of_any_size(stage: Stage) -> None:
    """Of an endless error page, a bounded part is read and the connection is cut."""
    call = stage.api.count()
    request = stage.server.requests[0]
    request.setResponseCode(500)
    gone = request.notifyFinish()
    stage.say(*[b"x" * 1024] * 64)
    failure_of(call, RequestFailed)
    failure_of(gone, Exception)


def test_error_answer_that_stops(stage: Stage) -> None:
    """An error page that never ends by itself is told after the time limit, as far as it came."""
    call = stage.api.count()
    stage.server.requests[0].setResponseCode(500)
    stage.say(b"so far")
    stage.clock.advance(30)
    assert failure_of(call, RequestFailed).reason == "so far"


@pytest.mark.parametrize(
    ("call", "status", "body"),
    [
        (CALLS[0], 201, b"ok"),
        (CALLS[0], 201, b'{"ok":true}'),
        (CALLS[0], 201, b'{"ids":[1]}'),
        (CALLS[1], 200, b'{"results":[]}'),
        (CALLS[1], 200, b'[{"timestamp":1},'),
        (CALLS[1], 200, b'[{"timestamp":"\xff"}]'),
        (CALLS[1], 200, b"[1]"),
        (CALLS[1], 200, b"[" * 100_000),
        (CALLS[2], 200, b""),
        (CALLS[2], 200, b"1.5"),
        (CALLS[2], 200, b"true"),
    ],
)
def test_body_that_is_something_else(
    stage: Stage, call: Callable[[KPIggyBank], Deferred[Any]], status: int, body: bytes
) -> None:
    """A success whose body is not what it should be is a failure, too."""
    stage.server.answers.append((status, body))
    assert failure_of(call(stage.api), RequestFailed).status == status


def test_body_that_is_cut(stage: Stage) -> None:
    """A body that ends with its connection never looks complete, not even a number."""
    call = stage.api.count()
    stage.say(b"12")
    stage.cut()
    assert "incomplete answer" in str(failure_of(call, RequestFailed))


@every_call
def test_no_answer(stage: Stage, call: Callable[[KPIggyBank], Deferred[Any]]) -> None:
    """A server that says nothing fails a call after 30 seconds, not before."""
    waiting = call(stage.api)
    stage.clock.advance(29.9)
    assert not waiting.called
    stage.clock.advance(0.1)
    assert str(failure_of(waiting, TimeoutError)) == "no answer within 30 seconds"


def test_time_limit_of_ones_own(stage: Stage) -> None:
    """The limit is the program's choice."""
    waiting = stage.client("host", timeout=2.5).count()
    stage.clock.advance(2.5)
    failure_of(waiting, TimeoutError)


def test_body_that_stops(stage: Stage) -> None:
    """A body may take any time, but it may not be silent for 30 seconds."""
    waiting = stage.api.fetchRange()
    gone = stage.server.requests[0].notifyFinish()
    for piece in (b"", b"[", b"1", b","):
        stage.say(piece)
        stage.clock.advance(29.9)
        assert not waiting.called
    stage.clock.advance(0.1)
    failure_of(waiting, TimeoutError)
    stage.stub.flush()
    failure_of(gone, Exception)


@every_call
def test_cancel_before_the_answer(
    stage: Stage, call: Callable[[KPIggyBank], Deferred[Any]]
) -> None:
    """Cancelling gives a call up with the error that says so, and cuts its connection."""
    waiting = call(stage.api)
    gone = stage.server.requests[0].notifyFinish()
    waiting.cancel()
    failure_of(waiting, CancelledError)
    stage.stub.flush()
    failure_of(gone, Exception)


def test_cancel_in_the_body(stage: Stage) -> None:
    """Cancelling works in the middle of the body as well."""
    waiting = stage.api.fetchRange()
    gone = stage.server.requests[0].notifyFinish()
    stage.say(b"[")
    waiting.cancel()
    failure_of(waiting, CancelledError)
    stage.stub.flush()
    failure_of(gone, Exception)


def test_follow_again_after_cancelling(stage: Stage) -> None:
    """Cancelling before the stream is open leaves the way free for another."""
    opening = stage.api.followChanges()
    opening.cancel()
    failure_of(opening, CancelledError)
    stage.follow()
    stage.say(LINE)
    assert stage.sequences() == ["s1"]


def test_calls_wait_for_their_turn(stage: Stage) -> None:
    """A thousand calls at once are 64 requests at once, and all of them get their answer."""
    calls = [stage.api.count() for _ in range(1000)]
    for answered in range(1000):
        assert len(stage.server.requests) == min(answered + 64, 1000)
        stage.server.requests[answered].write(b"7")
        stage.server.requests[answered].finish()
        stage.stub.flush()
    assert [success_of(call) for call in calls] == [7] * 1000
