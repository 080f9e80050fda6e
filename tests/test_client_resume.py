"""How the client's stream outlives its connections, and what it tells of that."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError

from kpiggybank.client import AlreadyFollowing, ClientClosed, RequestFailed
from tests.client_stage import Stage, failure_of, line, success_of

FAREWELL = b'{"last_seq":"s9"}\r\n'
RESET = b'{"reset":"old","reason":"it was long ago"}\r\n'


def test_begin_after_a_cursor(stage: Stage) -> None:
    """A stream begins where it is told to."""
    stage.follow(since="s7")
    assert (stage.asked_since(), stage.told("connected")) == (["s7"], ["s7"])


def test_begin_now_in_words(stage: Stage) -> None:
    """The server's word for now is the same as none."""
    stage.server.cursor = "s5"
    stage.follow(since="now")
    assert (stage.asked_since(), stage.told("connected")) == (["now"], ["s5"])


def test_cut_between_changes(stage: Stage) -> None:
    """After a loss, the stream goes on behind the last change: none is missed or told twice."""
    stage.follow()
    stage.say(line("1") + line("2") + line("3")[:9])
    stage.cut()
    stage.come_back()
    stage.say(line("3"))
    assert stage.asked_since() == ["now", "2"]
    assert stage.sequences() == ["1", "2", "3"]


def test_cut_before_any_change(stage: Stage) -> None:
    """Without a change, the stream goes on where the head of the answer said it began."""
    stage.server.cursor = "s4"
    stage.follow()
    stage.cut()
    stage.come_back()
    assert stage.asked_since() == ["now", "s4"]
    assert (stage.lost().cursor, stage.told("reset")) == ("s4", [])


def test_cut_of_a_stream_from_the_beginning(stage: Stage) -> None:
    """The beginning is a place as well, whether the head says where it is or not."""
    stage.follow(since="0")
    stage.cut()
    stage.come_back()
    assert (stage.asked_since(), stage.told("reset")) == (["0", "0"], [])


def test_cut_before_any_cursor(stage: Stage) -> None:
    """Where no place was told at all, what is missing is told instead of left out in silence."""
    stage.follow()
    stage.cut()
    assert stage.lost().cursor is None
    stage.come_back()
    assert stage.asked_since() == ["now", "now"]
    (reset,) = stage.told("reset")
    assert reset["reset"] is None
    assert "before the server told any place" in reset["reason"]


def test_farewell_then_resume(stage: Stage) -> None:
    """After a farewell the stream goes on at the place that it named."""
    stage.follow()
    stage.say(line("1") + FAREWELL)
    stage.come_back()
    assert stage.asked_since() == ["now", "s9"]


def test_silence_then_resume(stage: Stage) -> None:
    """A connection that fell silent is replaced."""
    stage.follow()
    stage.say(line("1"))
    stage.clock.advance(45)
    stage.come_back()
    assert stage.asked_since() == ["now", "1"]


def test_story(stage: Stage) -> None:
    """Each event is told at its place between the changes; the first "connected" before all."""
    stage.server.cursor = "s0"
    stage.follow()
    stage.say(line("1"))
    stage.cut()
    stage.come_back()
    stage.say(RESET + line("2"))
    (ended,) = stage.told("disconnected")
    assert stage.story == [
        ("connected", "s0"),
        ("change", "1"),
        ("disconnected", ended),
        ("connected", "1"),
        ("reset", {"reset": "old", "reason": "it was long ago"}),
        ("change", "2"),
    ]


def test_connected_before_the_deferred(stage: Stage) -> None:
    """Who waits for followChanges finds that "connected" was told."""
    stage.listen()
    opened = stage.api.followChanges()
    opened.addCallback(lambda _: stage.story.append(("opened", None)))
    stage.say(b"")
    assert stage.story == [("connected", None), ("opened", None)]


def test_reset_moves_the_cursor(stage: Stage) -> None:
    """A reset is told once: what follows is the place that it named."""
    stage.follow(since="gone")
    stage.say(RESET)
    stage.cut()
    stage.come_back()
    assert stage.asked_since() == ["gone", "old"]
    assert (len(stage.told("reset")), stage.errors) == (1, [])


def test_cursor_of_a_new_head_changes_nothing(stage: Stage) -> None:
    """The place we know is better than one from a head, behind which a reset may be to come."""
    stage.follow()
    stage.say(line("1"))
    stage.server.cursor = "elsewhere"
    for _ in range(2):
        stage.cut()
        stage.come_back()
    assert stage.asked_since() == ["now", "1", "1"]


@pytest.mark.parametrize("status", [204, 302, 408, 425, 429, 500, 502, 503])
def test_answer_that_will_pass(stage: Stage, status: int) -> None:
    """A server that is not ready is asked again, without a word to anybody."""
    stage.follow()
    stage.cut()
    stage.server.answers = [(status, b"")] * 3
    for _ in range(3):
        stage.wait()
    stage.come_back()
    assert (len(stage.server.requests), stage.errors) == (5, [])
    assert len(stage.told("connected")) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_answer_that_will_not_pass(stage: Stage, status: int) -> None:
    """A server that refuses our cursor would always do: the stream ends, and may begin anew."""
    stage.follow()
    stage.cut()
    stage.server.answers = [(status, b'{"error":"bad_request","reason":"no such cursor"}')]
    stage.wait()
    (error,) = stage.errors
    assert (type(error), error.status) == (RequestFailed, status)
    assert stage.clock.getDelayedCalls() == []
    again = stage.api.followChanges()
    stage.say(b"")
    success_of(again)


def test_no_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is away is asked until it is back."""
    stage.follow()
    stage.cut()
    request = stage.stub.request
    tries: list[str] = []

    def refuse(*args: Any, **options: Any) -> Deferred[Any]:
        tries.append(args[1])
        return fail(ConnectionRefusedError())

    monkeypatch.setattr(stage.stub, "request", refuse)
    for _ in range(20):
        stage.wait()
    monkeypatch.setattr(stage.stub, "request", request)
    stage.come_back()
    assert (len(tries), stage.errors, len(stage.told("disconnected"))) == (20, [], 1)


def test_no_answer_when_it_tries_again(stage: Stage) -> None:
    """A server that takes the connection and says nothing is asked again as well."""
    stage.follow()
    stage.cut()
    stage.wait()
    stage.clock.advance(30)
    stage.come_back()
    assert (len(stage.server.requests), stage.errors) == (3, [])


def test_first_opening_fails(stage: Stage) -> None:
    """The first time, the caller hears of it and decides: nothing is tried again or told."""
    stage.listen()
    stage.server.answers.append((503, b""))
    failure_of(stage.api.followChanges(), RequestFailed)
    assert (stage.clock.getDelayedCalls(), stage.story) == ([], [])


def test_follow_twice_in_a_pause(stage: Stage) -> None:
    """A stream that waits to be opened again is there nevertheless."""
    stage.follow()
    stage.cut()
    failure_of(stage.api.followChanges(), AlreadyFollowing)


def test_close_in_a_pause(stage: Stage) -> None:
    """Closing ends a stream that waits; nothing is told, and nothing is left."""
    stage.follow()
    stage.cut()
    story = list(stage.story)
    success_of(stage.api.close())
    assert (stage.clock.getDelayedCalls(), stage.story) == ([], story)


def test_close_while_it_opens_again(stage: Stage) -> None:
    """Closing ends a stream that is about to be opened again, and cuts that connection."""
    stage.follow()
    stage.cut()
    stage.wait()
    gone = stage.server.requests[-1].notifyFinish()
    story = list(stage.story)
    success_of(stage.api.close())
    stage.stub.flush()
    failure_of(gone, Exception)
    assert stage.story == story


@pytest.mark.parametrize("name", ["connected", "disconnected", "reset"])
def test_close_in_any_callback(stage: Stage, name: str) -> None:
    """Whatever a callback hears of, it may close the client: nothing more is told or opened."""
    stage.api.on(name, lambda _: stage.api.close())
    stage.listen()
    opened = stage.api.followChanges()
    stage.say(b"")
    if name == "connected":
        failure_of(opened, ClientClosed)
    else:
        success_of(opened)
        stage.say(RESET + line("1") + FAREWELL)
    assert stage.told(name) == []
    assert (stage.changes, stage.errors) == ([] if name != "disconnected" else stage.changes, [])
    assert stage.clock.getDelayedCalls() == []


def test_cancel_in_a_callback(stage: Stage) -> None:
    """Cancelling from within "connected" is in time: the stream is not opened."""
    openings: list[Deferred[None]] = []
    stage.api.on("connected", lambda _: openings[0].cancel())
    stage.listen()
    openings.append(stage.api.followChanges())
    stage.say(line("1"))
    failure_of(openings[0], CancelledError)
    assert (stage.changes, stage.errors, stage.clock.getDelayedCalls()) == ([], [], [])


def test_raising_in_any_callback(stage: Stage) -> None:
    """What these callbacks raise is an `error`, too, and the stream goes on."""

    def break_down(value: Any) -> None:
        raise KeyError("here")

    for name in ("connected", "disconnected", "reset"):
        stage.api.on(name, break_down)
    stage.follow()
    stage.say(RESET)
    stage.cut()
    stage.come_back()
    stage.say(line("1"))
    assert [repr(error) for error in stage.errors] == ["KeyError('here')"] * 4
    assert stage.sequences() == ["1"]
