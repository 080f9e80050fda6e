"""The changes as an asynchronous iterator, and how such a loop ends."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from kpiggybank.client import ClientClosed, RequestFailed, StreamEnded
from tests.client_stage import Stage, failure_of, line, success_of


def test_changes_one_by_one(stage: Stage) -> None:
    """A loop gets each change, as the callbacks would."""
    stage.read(since="s0")
    stage.say(line("1") + line("2"), line("3"))
    assert stage.asked_since() == ["s0"]
    assert stage.changes[0] == {"seq": "1", "id": "id-1", "doc": {"timestamp": 0}}
    assert stage.sequences() == ["1", "2", "3"]


def test_opens_when_the_loop_begins(stage: Stage) -> None:
    """An iterator that nobody asks connects to nobody."""
    changes = stage.api.changes()
    assert stage.server.requests == []
    del changes


def test_slow_loop(stage: Stage) -> None:
    """The loop has the time that it takes: the next change waits."""
    pause: Deferred[None] = Deferred()

    async def loop() -> None:
        async for change in stage.api.changes():
            stage.changes.append(change)
            await pause

    stage.run(loop())
    stage.say(line("1") + line("2"))
    assert stage.sequences() == ["1"]
    pause.callback(None)
    assert stage.sequences() == ["1", "2"]


def test_resumes(stage: Stage) -> None:
    """A loop does not notice a lost connection; the callbacks are told of it."""
    stage.listen()
    stage.read()
    stage.say(line("1"))
    stage.cut()
    stage.come_back()
    stage.say(line("2"))
    assert stage.sequences() == ["1", "2"]
    assert [name for name, _ in stage.story] == ["connected", "disconnected", "connected"]


def test_is_a_stream_of_its_own(stage: Stage) -> None:
    """Loops and callbacks are independent of each other."""
    stage.listen()
    loops = [stage.read(), stage.read()]
    opened = stage.api.followChanges()
    assert len(stage.server.requests) == 3
    for request in stage.server.requests:
        request.write(line("1"))
    stage.stub.flush()
    success_of(opened)
    assert len(stage.changes) == 3
    assert not any(loop.called for loop in loops)


def test_first_opening_fails(stage: Stage) -> None:
    """That the stream cannot be opened is raised from the loop, and told to nobody else."""
    stage.listen()
    stage.server.answers.append((503, b""))
    failure_of(stage.read(), RequestFailed)
    assert stage.story == []


def test_what_cannot_be_mended(stage: Stage) -> None:
    """What cannot be mended is raised from the loop instead of being told to `error`."""
    stage.listen()
    loop = stage.read()
    stage.say(line("1") + b"garbage\r\n")
    error = failure_of(loop, StreamEnded)
    assert (error.cursor, stage.errors, stage.told("disconnected")) == ("1", [], [error])


def test_break(stage: Stage) -> None:
    """Leaving the loop cuts its connection, at once."""

    async def first() -> Any:
        async for change in stage.api.changes():
            return change

    change = Deferred.fromCoroutine(first())
    gone = stage.server.requests[0].notifyFinish()
    stage.say(line("1") + line("2"))
    assert success_of(change)["seq"] == "1"
    stage.stub.flush()
    failure_of(gone, Exception)
    assert stage.clock.getDelayedCalls() == []


def test_raising_in_the_loop(stage: Stage) -> None:
    """So does an error of the loop's own."""

    async def loop() -> None:
        async for change in stage.api.changes():
            raise KeyError(change["seq"])

    looping = stage.run(loop())
    gone = stage.server.requests[0].notifyFinish()
    stage.say(line("1"))
    failure_of(looping, KeyError)
    stage.stub.flush()
    failure_of(gone, Exception)
    assert stage.clock.getDelayedCalls() == []


def test_cancel_a_waiting_loop(stage: Stage) -> None:
    """Cancelling who waits for a change cuts the connection; nothing is told."""
    stage.listen()
    loop = stage.read()
    gone = stage.server.requests[0].notifyFinish()
    stage.say(line("1"))
    loop.cancel()
    failure_of(loop, CancelledError)
    stage.stub.flush()
    failure_of(gone, Exception)
    assert (stage.told("disconnected"), stage.clock.getDelayedCalls()) == ([], [])


def test_cancel_a_busy_loop(stage: Stage) -> None:
    """Cancelling who is busy with a change cuts the connection as well."""

    async def loop() -> None:
        async for _ in stage.api.changes():
            await Deferred[None]()

    looping = stage.run(loop())
    gone = stage.server.requests[0].notifyFinish()
    stage.say(line("1"))
    looping.cancel()
    failure_of(looping, CancelledError)
    stage.stub.flush()
    failure_of(gone, Exception)
    assert stage.clock.getDelayedCalls() == []


def test_cancel_in_a_pause(stage: Stage) -> None:
    """A loop that waits for its stream to be opened again can be cancelled."""
    loop = stage.read()
    stage.say(line("1"))
    stage.cut()
    loop.cancel()
    failure_of(loop, CancelledError)
    assert stage.clock.getDelayedCalls() == []


def test_cancel_while_it_opens(stage: Stage) -> None:
    """A loop whose stream is not open yet can be cancelled, and is not opened then."""
    loop = stage.read()
    gone = stage.server.requests[0].notifyFinish()
    loop.cancel()
    failure_of(loop, CancelledError)
    stage.stub.flush()
    failure_of(gone, Exception)


def test_close(stage: Stage) -> None:
    """Closing the client ends a waiting loop with the error that says so."""
    loop = stage.read()
    stage.say(line("1"))
    success_of(stage.api.close())
    failure_of(loop, ClientClosed)


def test_close_in_a_pause(stage: Stage) -> None:
    """So it does in a pause."""
    loop = stage.read()
    stage.say(b"")
    stage.cut()
    success_of(stage.api.close())
    failure_of(loop, ClientClosed)


def test_close_while_it_opens(stage: Stage) -> None:
    """And before the stream is open."""
    loop = stage.read()
    success_of(stage.api.close())
    failure_of(loop, ClientClosed)


def test_close_within_the_loop(stage: Stage) -> None:
    """A loop may close the client itself: it gets no further change."""

    async def loop() -> None:
        async for change in stage.api.changes():
            stage.changes.append(change)
            await stage.api.close()

    looping = stage.run(loop())
    stage.say(line("1") + line("2"))
    failure_of(looping, ClientClosed)
    assert stage.sequences() == ["1"]


def test_loop_after_close(stage: Stage) -> None:
    """A closed client opens no stream."""
    success_of(stage.api.close())
    failure_of(stage.read(), ClientClosed)
    assert stage.server.requests == []


def test_close_between_call_and_loop(stage: Stage) -> None:
    """Nor does one that was closed before the loop began."""
    changes = stage.api.changes()
    success_of(stage.api.close())
    failure_of(Deferred.fromCoroutine(changes.__anext__()), ClientClosed)


def test_iterator_that_is_closed(stage: Stage) -> None:
    """An iterator that is kept can be closed by hand."""
    changes = stage.api.changes()
    first = Deferred.fromCoroutine(changes.__anext__())
    gone = stage.server.requests[0].notifyFinish()
    stage.say(line("1"))
    success_of(first)
    success_of(Deferred.fromCoroutine(changes.aclose()))
    stage.stub.flush()
    failure_of(gone, Exception)
