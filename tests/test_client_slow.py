"""How slow callbacks make the server wait, and what goes on meanwhile."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from tests.client_stage import Stage, line, success_of


class Slow:
    """A callback that takes its time: each call waits for the test."""

    def __init__(self, stage: Stage) -> None:
        self.calls: list[Deferred[None]] = []
        stage.api.on("change", self)

    def __call__(self, change: Any) -> Deferred[None]:
        """Begin."""
        self.calls.append(Deferred())
        return self.calls[-1]


def test_next_change_waits(stage: Stage) -> None:
    """A change is told when the callbacks are done with the one before."""
    slow = Slow(stage)
    stage.follow()
    stage.say(line("1") + line("2"), line("3"))
    assert stage.sequences() == ["1"]
    slow.calls[0].callback(None)
    assert stage.sequences() == ["1", "2"]
    slow.calls[1].callback(None)
    assert stage.sequences() == ["1", "2", "3"]


def test_callbacks_of_one_change_run_together(stage: Stage) -> None:
    """All callbacks hear of a change at once; the next one waits for the slowest of them."""
    first, second = Slow(stage), Slow(stage)
    stage.follow()
    stage.say(line("1") + line("2"))
    assert (len(first.calls), len(second.calls)) == (1, 1)
    second.calls[0].callback(None)
    assert stage.sequences() == ["1"]
    first.calls[0].callback(None)
    assert stage.sequences() == ["1", "2"]


def test_coroutine_is_waited_for(stage: Stage) -> None:
    """A callback may be a coroutine function as well."""
    pause: Deferred[None] = Deferred()

    async def wait(change: Any) -> None:
        await pause

    stage.api.on("change", wait)
    stage.follow()
    stage.say(line("1") + line("2"))
    assert stage.sequences() == ["1"]
    pause.callback(None)
    assert stage.sequences() == ["1", "2"]


def test_slow_failure(stage: Stage) -> None:
    """What a slow callback fails with is an error, and the next change is told."""
    slow = Slow(stage)
    stage.follow()
    stage.say(line("1") + line("2"))
    slow.calls[0].errback(KeyError("late"))
    assert ([repr(error) for error in stage.errors], stage.sequences()) == (
        ["KeyError('late')"],
        ["1", "2"],
    )


def test_cut_during_a_slow_callback(stage: Stage) -> None:
    """What had come before the loss is told first; the stream goes on after that."""
    slow = Slow(stage)
    stage.follow()
    stage.say(line("1") + line("2"), line("3"))
    stage.cut()
    assert stage.told("disconnected") == []
    for number in range(3):
        slow.calls[number].callback(None)
    assert stage.lost().cursor == "3"
    stage.come_back()
    assert stage.asked_since() == ["now", "3"]


def test_silence_during_a_slow_callback(stage: Stage) -> None:
    """A connection that falls silent during a slow callback is noticed."""
    slow = Slow(stage)
    stage.follow()
    stage.say(line("1"))
    stage.clock.advance(45)
    slow.calls[0].callback(None)
    assert stage.lost().reason == "nothing came for 45 seconds"


def test_heartbeats_during_a_slow_callback(stage: Stage) -> None:
    """Heartbeats are heard during a slow callback: its connection is not given up."""
    slow = Slow(stage)
    stage.follow()
    stage.say(line("1"))
    for _ in range(10):
        stage.clock.advance(44)
        stage.say(b"\r\n")
    slow.calls[0].callback(None)
    stage.say(line("2"))
    assert (stage.sequences(), stage.told("disconnected")) == (["1", "2"], [])


def test_close_during_a_slow_callback(stage: Stage) -> None:
    """Closing does not wait for a callback, nor cancel what is a callback's own."""
    slow = Slow(stage)
    stage.follow()
    stage.say(line("1") + line("2"))
    success_of(stage.api.close())
    assert not slow.calls[0].called
    slow.calls[0].callback(None)
    assert stage.sequences() == ["1"]


def test_close_within_a_slow_callback(stage: Stage) -> None:
    """A slow callback may close the client itself."""
    slow = Slow(stage)
    stage.api.on("change", lambda change: stage.api.close())
    stage.follow()
    stage.say(line("1") + line("2"))
    assert (len(slow.calls), stage.clock.getDelayedCalls()) == (1, [])
    slow.calls[0].callback(None)


def test_opened_while_a_callback_is_slow(stage: Stage) -> None:
    """The stream counts as open whatever a callback takes for the first change."""
    slow = Slow(stage)
    opened = stage.api.followChanges()
    stage.say(line("1"))
    success_of(opened)
    slow.calls[0].callback(None)
