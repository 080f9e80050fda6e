"""Threads that work for the reactor."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread, get_native_id, local
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

#: How long a result may wait at the most while there is more to do; see `Workers`.
TOGETHER_SECONDS = 0.002

T = TypeVar("T")

_Job = tuple[Deferred[Any], Callable[[], Any]]

#: What each of the threads is at.
_at_work = local()


def nobody_waits() -> bool:
    """Whether the work that this thread is at was cancelled; long work may ask, and end."""
    done: Deferred[Any] | None = getattr(_at_work, "done", None)
    return done is not None and bool(done.called)


@attrs.define(eq=False)
class Workers:
    """A fixed number of threads that do one piece of work after the other, in the order given.

    Twisted's thread pool does the same and more, and to hand a query over costs it more time than
    SQLite needs to answer.

    Results are told together when nothing is left to be begun. For each by itself the reactor would
    wake up, and contend with the threads for the interpreter's lock: on one core, that took a tenth
    of the time of small reads. Where the threads do not come to an end, it looks after them itself.

    Args:
        reactor: gets the results; it provides `IReactorFromThreads` and `IReactorTime`.
        count: how many threads.
        name: of each of them, for debuggers.
        niceness: by how much they stand back when others of this machine want its cores.
    """

    _reactor: Any
    _count: int
    _name: str
    _niceness: int = 0
    _jobs: SimpleQueue[_Job | None] = attrs.field(factory=SimpleQueue, init=False)
    #: Results on their way, and whether the reactor has been told to fetch them.
    _results: deque[tuple[Deferred[Any], Any]] = attrs.field(factory=deque, init=False)
    _told: bool = attrs.field(default=False, init=False)
    #: Pieces of work whose results have not been fetched, and the next look after them.
    _open: int = attrs.field(default=0, init=False)
    _next_look: Any = attrs.field(default=None, init=False)
    _stopped: Deferred[None] = attrs.field(factory=Deferred, init=False)

    def start(self) -> None:
        """Begin; to be called once."""
        for _ in range(self._count):
            Thread(target=self._work, name=self._name, daemon=True).start()

    def do(self, work: Callable[[], T]) -> Deferred[T]:
        """Have something done; fires with its result, or fails as it did.

        Cancelling it frees who waits. What has not begun by then is never done; what has goes on,
        as a thread cannot be stopped, unless it asks `nobody_waits`.
        """
        done: Deferred[T] = Deferred()
        self._jobs.put((done, work))
        self._open += 1
        self._look_later()
        return done

    def stop(self) -> Deferred[None]:
        """End the threads; fires when all that was given, and not cancelled, is done and told."""
        for _ in range(self._count):
            self._jobs.put(None)
        return self._stopped

    def _work(self) -> None:
        with suppress(OSError):  # only Linux knows priorities of threads
            usual = os.getpriority(os.PRIO_PROCESS, get_native_id())
            os.setpriority(os.PRIO_PROCESS, get_native_id(), usual + self._niceness)
        for done, work in iter(self._jobs.get, None):
            _at_work.done = done
            try:
                result = None if done.called else work()
            except BaseException:  # whatever it is, it is the outcome of this work
                result = Failure()
            self._results.append((done, result))
            # Once is enough for all that the reactor has not fetched yet.
            if self._jobs.empty() and not self._told:
                self._told = True
                self._reactor.callFromThread(self._fetch)
        self._reactor.callFromThread(self._end)

    def _fetch(self) -> None:
        self._told = False  # first: what comes from here on is told anew
        # No more than are there now: while these are taken, the threads may bring others forever.
        for _ in range(len(self._results)):
            done, result = self._results.popleft()
            self._open -= 1
            done.callback(result)

    def _look_later(self) -> None:
        # A single one is told at once.
        if self._open > 1 and self._next_look is None:
            self._next_look = self._reactor.callLater(TOGETHER_SECONDS, self._look)

    def _look(self) -> None:
        self._next_look = None
        self._fetch()
        self._look_later()

    def _end(self) -> None:
        self._fetch()  # what the last thread did not tell, as all were to end
        self._count -= 1
        if self._count == 0:
            if self._next_look is not None:
                self._next_look.cancel()
            self._stopped.callback(None)
