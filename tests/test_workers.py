"""Threads that work for the reactor."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from queue import Queue
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock

from kpiggybank.stores.sqlite.workers import TOGETHER_SECONDS, Workers, nobody_waits

reactor: Any = _reactor  # to mypy, it is a module


@pytest_twisted.async_yield_fixture
async def workers() -> AsyncIterator[Workers]:
    """Two threads, ended afterwards."""
    workers = Workers(reactor, 2, "test")
    workers.start()
    yield workers
    await workers.stop()


@ensureDeferred
async def test_result_comes_in_the_reactors_thread(workers: Workers) -> None:
    """The work is done elsewhere, its result told here."""
    assert await workers.do(threading.current_thread) is not threading.current_thread()
    told = workers.do(lambda: None).addCallback(lambda _: threading.current_thread())
    assert await told is threading.current_thread()


@ensureDeferred
async def test_failure_is_an_outcome(workers: Workers) -> None:
    """What the work raises is what the Deferred fails with; the thread goes on."""
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await workers.do(lambda: 1 // 0)
    assert await workers.do(lambda: 5) == 5


@ensureDeferred
async def test_all_threads_work(workers: Workers) -> None:
    """As many pieces of work go on at a time as there are threads."""
    together = threading.Barrier(2)
    await gatherResults([workers.do(together.wait) for _ in range(2)])


@ensureDeferred
async def test_results_leave_room(workers: Workers) -> None:
    """Though each result is followed by another before it is dealt with, the reactor goes on."""
    go, count, turns = threading.Semaphore(), 30, [0]

    def turn() -> None:
        turns[0] += 1
        following[0] = reactor.callLater(0, turn)

    def told(_: object) -> None:
        seen.append(turns[0])
        go.release()
        while not workers._results and len(seen) < count:
            threading.Event().wait(0.001)

    seen: list[int] = []
    following = [reactor.callLater(0, turn)]
    await gatherResults([workers.do(go.acquire).addCallback(told) for _ in range(count)])
    following[0].cancel()
    assert max(map(seen.count, seen)) <= 3


@ensureDeferred
async def test_results_do_not_wait_for_long_work() -> None:
    """What is done is told, though the thread goes on with work that needs just that."""

    def tell(_: object, go: threading.Event) -> None:
        go.set()

    workers = Workers(reactor, 1, "test")
    workers.start()
    for _ in range(20):
        go = threading.Event()
        workers.do(partial(int, 0)).addCallback(tell, go)
        assert await workers.do(partial(go.wait, 10))
    await workers.stop()


def test_results_are_told_together() -> None:
    """For many small pieces of work the reactor is told once, and looks after the rest itself."""
    calls: Queue[Callable[[], None]] = Queue()
    clock: Any = Clock()
    clock.callFromThread = calls.put
    workers = Workers(clock, 1, "test")
    outcomes: list[int] = []
    for number in range(100):
        workers.do(partial(abs, number)).addCallback(outcomes.append)
    workers.start()
    calls.get(timeout=10)()
    assert outcomes == list(range(100))
    assert calls.empty()

    go = threading.Event()
    for number in range(2):
        workers.do(partial(abs, number)).addCallback(outcomes.append)
    workers.do(go.wait)
    while len(workers._results) < 2:
        threading.Event().wait(0.001)
    clock.advance(TOGETHER_SECONDS)
    assert outcomes[100:] == [0, 1]
    go.set()
    stopped = workers.stop()
    while not stopped.called:
        calls.get(timeout=10)()
    assert not clock.getDelayedCalls()


@ensureDeferred
async def test_cancelling_frees_who_waits(workers: Workers) -> None:
    """Who cancels is told so at once; work that has begun is done all the same, and may ask."""
    begun: Deferred[None] = Deferred()
    go, done = threading.Event(), threading.Event()
    asked: list[bool] = []

    def work_on() -> None:
        asked.append(nobody_waits())
        reactor.callFromThread(begun.callback, None)
        go.wait(10)
        asked.append(nobody_waits())
        done.set()

    work = workers.do(work_on)
    await begun
    work.cancel()
    with pytest.raises(CancelledError):
        await work
    go.set()
    await workers.do(partial(done.wait, 10))
    assert asked == [False, True]
    assert not nobody_waits()  # here, where no work is done


@ensureDeferred
async def test_cancelled_work_is_passed_over() -> None:
    """What nobody waits for when its turn comes is never done; what comes after it is."""
    workers = Workers(reactor, 1, "test")
    done: list[int] = []
    waiting = [workers.do(partial(done.append, number)) for number in range(9)]
    for work in waiting[1:8]:
        work.cancel()
        with pytest.raises(CancelledError):
            await work
    workers.start()
    await waiting[8]
    await workers.stop()
    assert done == [0, 8]


@ensureDeferred
async def test_stop_is_after_all_work() -> None:
    """Stopping waits for what was given before, and its outcome is told first."""
    workers = Workers(reactor, 1, "test")
    workers.start()
    outcomes: list[int] = []
    for number in range(3):
        workers.do(partial(abs, number)).addCallback(outcomes.append)
    await workers.stop()
    assert outcomes == [0, 1, 2]


@ensureDeferred
async def test_niceness() -> None:
    """Threads stand back by as much as was asked for, beyond this process."""

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    workers = Workers(reactor, 1, "test", 3)
    workers.start()
    assert await workers.do(niceness) == min(19, niceness() + 3)
    await workers.stop()
