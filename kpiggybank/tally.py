"""Plain figures of what was done, for whoever asks: to count must cost next to nothing."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence

import attrs

#: The bounds of what takes time, in seconds.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: The bounds of how many go together.
SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


@attrs.define(eq=False)
class Histogram:
    """How many values there were up to each of some bounds.

    Attributes:
        bounds: ascending; a value that equals a bound is within it.
        counts: for each bound the values from the one before up to it, then those beyond all.
        total: the sum of all values.
    """

    bounds: Sequence[float]
    counts: list[int] = attrs.field(init=False)
    total: float = attrs.field(default=0.0, init=False)

    @counts.default
    def _none_yet(self) -> list[int]:
        return [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@attrs.define(eq=False)
class Appends:
    """What a store was given: what has become of it, and what still waits.

    Attributes:
        clock: tells the time in seconds; it must not jump.
        events: how many had which outcome.
        durations: how long appends took, whatever their outcome.
        bytes: the JSON of those that still wait.
        trouble: why the store could not take the last one; None where it could.
    """

    clock: Callable[[], float] = time.monotonic
    events: Counter[str] = attrs.field(factory=Counter, init=False)
    durations: Histogram = attrs.field(factory=lambda: Histogram(SECONDS), init=False)
    bytes: int = attrs.field(default=0, init=False)
    trouble: str | None = attrs.field(default=None, init=False)
    _number: int = attrs.field(default=0, init=False)
    #: When those began that are not answered, and their bytes, in this order.
    _waiting: dict[int, tuple[float, int]] = attrs.field(factory=dict, init=False)

    def begin(self, size: int) -> int:
        """Note that an append of so many bytes begins; returns its number."""
        self._number = number = self._number + 1
        self._waiting[number] = self.clock(), size
        self.bytes += size
        return number

    def end(self, number: int, outcome: str, count: int, trouble: str | None = None) -> None:
        """Note what has become of an append of so many events."""
        self.trouble = trouble
        began, size = self._waiting.pop(number)
        self.bytes -= size
        self.durations.add(self.clock() - began)
        self.events[outcome] += count

    @property
    def waiting(self) -> int:
        """How many wait for the store, or are being written by it."""
        return len(self._waiting)

    @property
    def oldest(self) -> float:
        """For how many seconds the oldest of these has been waiting; 0 if there is none."""
        for began, _ in self._waiting.values():
            return self.clock() - began
        return 0.0
