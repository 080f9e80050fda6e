"""Who hears of what, and what closing the client does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import (
    Deferred,
    fail,
)
from twisted.logger import LogEvent

from kpiggybank.client import (
    ClientClosed,
    KPIggyBank,
    RequestFailed,
    StreamEnded,
)
from tests.client_stage import LINE, Stage, every_call, failure_of, line, success_of


def test_raising_callback(stage: Stage) -> None:
    """What a callback raises becomes an `error` event; the others and later changes still come."""

    def break_down(change: Any) -> None:
        raise KeyError(change["seq"])

    stage.api.on("change", break_down)
    stage.follow()
    stage.say(line("1") + line("2"))
    assert [repr(error) for error in stage.errors] == ["KeyError('1')", "KeyError('2')"]
    assert stage.sequences() == ["1", "2"]


def test_callback_whose_deferred_fails(stage: Stage) -> None:
    """A failing Deferred is the same as raising."""
    stage.api.on("change", lambda change: fail(KeyError(change["seq"])))
    stage.follow()
    stage.say(line("1"))
    assert [repr(error) for error in stage.errors] == ["KeyError('1')"]


def test_callback_that_is_a_coroutine(stage: Stage) -> None:
    """A coroutine function is run to its end, and what it raises is heard."""
    pause: Deferred[None] = Deferred()

    async def break_down(change: Any) -> None:
        await pause
        raise KeyError(change["seq"])

    stage.api.on("change", break_down)
    stage.follow()
    stage.say(line("1"))
    pause.callback(None)
    assert [repr(error) for error in stage.errors] == ["KeyError('1')"]


def test_raising_error_callback(stage: Stage, logged: list[LogEvent]) -> None:
    """What an `error` callback raises is logged; the others still hear of the first error."""

    def break_down(error: Any) -> None:
        raise KeyError("in vain")

    stage.api.on("error", break_down)
    stage.follow()
    stage.say(b"garbage\r\n")
    assert len(stage.errors) == 1
    (event,) = logged
    assert (event["log_level"].name, repr(event["error"])) == ("warn", "KeyError('in vain')")


def test_error_that_nobody_hears(stage: Stage, logged: list[LogEvent]) -> None:
    """An error without a callback for it is logged, not raised."""
    stage.follow()
    stage.api.off("error")
    stage.say(b"garbage\r\n")
    (event,) = logged
    assert (event["log_level"].name, type(event["error"])) == ("warn", StreamEnded)


def test_refusal_that_nobody_hears(stage: Stage, logged: list[LogEvent]) -> None:
    """A refused stream is logged in a line: a traceback would tell of nothing but our own code."""
    stage.follow()
    stage.api.off("error")
    stage.cut()
    stage.server.answers.append((400, b""))
    stage.wait()
    (event,) = logged
    assert (type(event["error"]), "log_failure" in event) == (RequestFailed, False)


def test_off(stage: Stage) -> None:
    """A callback that was taken off hears no more; the others do."""
    others: list[Any] = []
    stage.api.on("change", others.append)
    stage.follow()
    stage.api.off("change", stage.changes.append)
    stage.say(LINE)
    assert (stage.changes, len(others)) == ([], 1)


def test_off_for_all(stage: Stage) -> None:
    """Without a callback, all of that name are taken off."""
    stage.follow()
    stage.api.off("change")
    stage.say(LINE)
    assert stage.changes == []


def test_off_in_a_callback(stage: Stage) -> None:
    """A callback that another one takes off hears nothing of the same change either."""
    stage.api.on("change", lambda change: stage.api.off("change", stage.changes.append))
    stage.follow()
    stage.say(LINE)
    assert stage.changes == []


def test_off_of_a_stranger(stage: Stage) -> None:
    """Taking off what was never there changes nothing."""
    stage.follow()
    stage.api.off("change", print)
    stage.say(LINE)
    assert stage.sequences() == ["s1"]


def test_unknown_name(stage: Stage) -> None:
    """A misspelt name is an error at once, not silence for ever."""
    with pytest.raises(ValueError, match="change, error, connected, disconnected, reset"):
        stage.api.on("changes", print)
    with pytest.raises(ValueError, match="change, error, connected, disconnected, reset"):
        stage.api.off("changes")


@every_call
def test_call_after_close(stage: Stage, call: Callable[[KPIggyBank], Deferred[Any]]) -> None:
    """A closed client refuses every call and asks nobody."""
    success_of(stage.api.close())
    assert "closed" in str(failure_of(call(stage.api), ClientClosed))
    assert stage.server.requests == []


@every_call
def test_close_with_a_call_under_way(
    stage: Stage, call: Callable[[KPIggyBank], Deferred[Any]]
) -> None:
    """Closing fails what is under way, at once, and cuts its connection."""
    waiting = call(stage.api)
    gone = stage.server.requests[0].notifyFinish()
    success_of(stage.api.close())
    failure_of(waiting, ClientClosed)
    stage.stub.flush()
    failure_of(gone, Exception)


def test_close_in_the_middle_of_a_body(stage: Stage) -> None:
    """Closing fails a call whose body is on its way."""
    waiting = stage.api.fetchRange()
    stage.say(b"[")
    success_of(stage.api.close())
    failure_of(waiting, ClientClosed)


def test_close_with_calls_that_wait(stage: Stage) -> None:
    """Closing fails calls that wait for their turn, and none of them gets it any more."""
    calls = [stage.api.count() for _ in range(100)]
    success_of(stage.api.close())
    for call in calls:
        failure_of(call, ClientClosed)
    assert len(stage.server.requests) == 64


def test_close_ends_the_stream(stage: Stage, logged: list[LogEvent]) -> None:
    """After close, nothing is told, nor logged: no change, and no error for the end either."""
    stage.follow()
    gone = stage.server.requests[0].notifyFinish()
    success_of(stage.api.close())
    stage.server.requests[0].write(LINE)
    stage.stub.flush()
    stage.clock.advance(100)
    failure_of(gone, Exception)
    assert (stage.changes, stage.errors, logged) == ([], [], [])


def test_close_in_a_callback(stage: Stage) -> None:
    """A callback may close the client in the middle of a chunk: the rest of it is not told."""
    stage.api.on("change", lambda change: stage.api.close())
    stage.follow()
    stage.say(line("1") + line("2"))
    assert (stage.changes, stage.errors) == ([], [])


def test_failure_after_close(stage: Stage, logged: list[LogEvent]) -> None:
    """What a callback's Deferred fails with after close is logged, since nobody is told."""
    pause: Deferred[None] = Deferred()
    stage.api.on("change", lambda change: pause)
    stage.follow()
    stage.say(LINE)
    success_of(stage.api.close())
    pause.errback(KeyError("late"))
    assert ([repr(event["error"]) for event in logged], stage.errors) == (["KeyError('late')"], [])


def test_close_twice(stage: Stage) -> None:
    """Closing again is fine."""
    success_of(stage.api.close())
    success_of(stage.api.close())
