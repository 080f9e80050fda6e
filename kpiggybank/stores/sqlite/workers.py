"""Threads that work for the reactor."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread, get_native_id
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

T = TypeVar("T")

_Job = tuple[Deferred[Any], Callable[[], Any]]


@attrs.define(eq=False)
class Workers:
    """A fixed number of threads that do one piece of work after the other, in the order given.

    Twisted's thread pool does the same and more, and to hand a query over costs it more time than
    SQLite needs to answer.

    Args:
        reactor: gets the results.
        count: how many threads.
        name: of each of them, for debuggers.
        niceness: by how much they stand back when others of this machine want its cores.
    """

    _reactor: IReactorFromThreads
    _count: int
    _name: str
    _niceness: int = 0
    _jobs: SimpleQueue[_Job | None] = attrs.field(factory=SimpleQueue, init=False)
    #: Results on their way, and whether the reactor has been told to fetch them.
    _results: deque[tuple[Deferred[Any], Any]] = attrs.field(factory=deque, init=False)
    _told: bool = attrs.field(default=False, init=False)
    _stopped: Deferred[None] = attrs.field(factory=Deferred, init=False)

    def start(self) -> None:
        """Begin; to be called once."""
        for _ in range(self._count):
            Thread(target=self._work, name=self._name, daemon=True).start()

    def do(self, work: Callable[[], T]) -> Deferred[T]:
        """Have something done; fires with its result, or fails as it did.

        Cancelling changes nothing but that nobody is told: a thread cannot be stopped.
        """
        done: Deferred[T] = Deferred()
        self._jobs.put((done, work))
        return done

    def stop(self) -> Deferred[None]:
        """End the threads; fires when all that was given is done and told."""
        for _ in range(self._count):
            self._jobs.put(None)
        return self._stopped

    def _work(self) -> None:
        with suppress(OSError):  # only Linux knows priorities of threads
            usual = os.getpriority(os.PRIO_PROCESS, get_native_id())
            os.setpriority(os.PRIO_PROCESS, get_native_id(), usual + self._niceness)
        for done, work in iter(self._jobs.get, None):
            try:
                result = work()
            except BaseException:  # whatever it is, it is the outcome of this work
                result = Failure()
            self._results.append((done, result))
            # To wake the reactor is dear: once is enough for all that it has not fetched yet.
            if not self._told:
                self._told = True
                self._reactor.callFromThread(self._fetch)
        self._reactor.callFromThread(self._end)

    def _fetch(self) -> None:
        self._told = False  # first: what comes from here on is told anew
        # No more than are there now: while these are taken, the threads may bring others forever.
        for _ in range(len(self._results)):
            done, result = self._results.popleft()
            done.callback(result)

    def _end(self) -> None:
        self._count -= 1
        if self._count == 0:
            self._stopped.callback(None)
