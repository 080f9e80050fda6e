"""A gate for threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

import attrs


@attrs.define(eq=False)
class Gate:
    """Lets any number of threads in, unless it is shut."""

    #: Of the condition; to take it by itself, most often, takes half the time.
    _lock: Lock = attrs.field(factory=Lock, init=False)
    _condition: Condition = attrs.field(init=False)
    _inside: int = attrs.field(default=0, init=False)
    _shut: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._condition = Condition(self._lock)

    def enter(self) -> None:
        """Be inside, after waiting until the gate is open; until `leave`."""
        with self._lock:
            while self._shut:
                self._condition.wait()
            self._inside += 1

    def leave(self) -> None:
        """Be outside again."""
        with self._lock:
            self._inside -= 1
            if self._shut:
                self._condition.notify_all()

    @contextmanager
    def shut(self, patience: float) -> Iterator[None]:
        """Keep all others out, once those inside have left, or after so many seconds."""
        with self._condition:
            self._shut = True
            self._condition.wait_for(lambda: not self._inside, patience)
        try:
            yield
        finally:
            with self._condition:
                self._shut = False
                self._condition.notify_all()
