"""The table of `make bench`: what was measured, round by round, and whether it is good enough."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

#: A server whose core was less busy was perhaps not what was measured; neither is one whose load
#: was that busy.
_BUSY = 0.85


@attrs.frozen
class Turn:
    """What one side did in one round.

    Attributes:
        value: a rate, a time or a size.
        cpu_us: microseconds of the server's CPU for each request, event or row; None where there
            are none.
        busy: the share of the time in which the server's core was at work, where it should have
            been all of it.
        load: the same of the load's core.
    """

    value: float
    cpu_us: float | None = None
    busy: float | None = None
    load: float | None = None


class Goal(Protocol):
    """What is good enough."""

    def met(self, value: float) -> bool:
        """Whether a value is."""


@attrs.frozen
class AtLeast:
    """A value or more."""

    bound: float

    def met(self, value: float) -> bool:
        """See `Goal.met`."""
        return value >= self.bound

    def __str__(self) -> str:
        return f">= {self.bound:g}"


@attrs.frozen
class AtMost:
    """A value or less."""

    bound: float

    def met(self, value: float) -> bool:
        """See `Goal.met`."""
        return value <= self.bound

    def __str__(self) -> str:
        return f"<= {self.bound:g}"


@attrs.frozen
class Below:
    """Less than a value."""

    bound: float

    def met(self, value: float) -> bool:
        """See `Goal.met`."""
        return value < self.bound

    def __str__(self) -> str:
        return f"< {self.bound:g}"


HEAD = (
    f"{'':2} {'KPIggyBank':<42} {'the other side':<42} "
    f"{'median (min to max)':<22} {'goal':<7} met  CPU us"
)


@attrs.define
class Row:
    """One row, as its rounds come in.

    Attributes:
        number: of the row.
        bank: what KPIggyBank does.
        other: what it is compared with; without it, its value itself is.
        goal: of the ratio or value.
        unit: of what each side's value tells.
        each: what the CPU is told for.
        digits: of the values, after the point.
    """

    number: int
    bank: str
    other: str
    goal: Goal
    unit: str
    each: str = ""
    digits: int = 0
    _turns: list[tuple[Turn, Turn]] = attrs.field(factory=list, init=False)

    def add(self, bank: Turn, other: Turn | None = None) -> None:
        """A round; without another side, the value is taken for the ratio."""
        self._turns.append((bank, other or Turn(1)))

    def __str__(self) -> str:
        banks, others = zip(*self._turns, strict=True)
        other = self._side(self.other, others) if self.other else ""
        ratios = [bank.value / other.value for bank, other in self._turns]
        ratio = statistics.median(ratios)
        digits = 2 if self.other else self.digits
        spread = f"{ratio:.{digits}f} ({min(ratios):.{digits}f} to {max(ratios):.{digits}f})"
        met = "yes" if self.goal.met(ratio) else "NO "
        return (
            f"{self.number:<2} {self._side(self.bank, banks):<42} {other:<42} "
            f"{spread:<22} {self.goal!s:<7} {met}  {self._cpu(banks, others)}"
        ).rstrip()

    @property
    def remarks(self) -> list[str]:
        """What makes it doubtful."""
        found = []
        for name, turns in zip(
            (self.bank, self.other), zip(*self._turns, strict=True), strict=True
        ):
            busy = _median(turns, lambda turn: turn.busy)
            if busy is not None and busy < _BUSY:
                found.append(f"{name}: the server's core was busy for {busy:.0%} of the time only")
            load = _median(turns, lambda turn: turn.load)
            if load is not None and load > _BUSY:
                found.append(f"{name}: the load's core was busy for {load:.0%} of the time")
        return [f"row {self.number}, {text}" for text in found]

    def _side(self, name: str, turns: Sequence[Turn]) -> str:
        value = statistics.median(turn.value for turn in turns)
        return f"{name}: {value:,.{self.digits}f} {self.unit}"

    def _cpu(self, *sides: Sequence[Turn]) -> str:
        costs = [_median(turns, lambda turn: turn.cpu_us) for turns in sides]
        told = [f"{cost:.3g}" for cost in costs if cost is not None]
        return f"{' / '.join(told)} {self.each}" if told else ""


def _median(turns: Sequence[Turn], what: Callable[[Turn], float | None]) -> float | None:
    values = [value for turn in turns if (value := what(turn)) is not None]
    return statistics.median(values) if values else None
