"""The table of `make bench`: what was measured, round by round, and whether it is good enough."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

#: Of the time; what is above it makes a row doubtful.
_IDLE = 0.1
_OTHERS = 0.15
_LOAD = 0.85
_LATE_MS = 1.0


@attrs.frozen
class Turn:
    """What one side did in one round.

    Attributes:
        value: a rate, a time or a size.
        cpu_us: microseconds of the server's CPU for each request, event or row; None where there
            are none.
        idle: the share of the time in which the server's core had nothing to do, where it should
            always have.
        others: the share in which it worked for anybody but the server.
        load: the share in which the load was at work on its own core.
        late_ms: how late the load was, at its worst hundredth, where it keeps a pace.
    """

    value: float
    cpu_us: float | None = None
    idle: float | None = None
    others: float | None = None
    load: float | None = None
    late_ms: float | None = None


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
    f"{'ratio (min to max)':<22} {'goal':<7} met  CPU us, left / right"
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
            for what, most, share in (
                ("the server's core had nothing to do", _IDLE, _median(turns, lambda t: t.idle)),
                ("others were on the server's core", _OTHERS, _median(turns, lambda t: t.others)),
                ("the load was busy", _LOAD, _median(turns, lambda t: t.load)),
            ):
                if share is not None and share > most:
                    found.append(f"{name}: {what} for {share:.0%} of the time")
            late = _median(turns, lambda turn: turn.late_ms)
            if late is not None and late > _LATE_MS:
                found.append(f"{name}: the load itself was {late:.1f} ms late")
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
