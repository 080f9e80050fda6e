"""Group commit: what goes together, and who is told what."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kpiggybank.stores.group_commit import GroupCommit


@attrs.define(eq=False)
class Disk:
    """A slow write that a test finishes by hand."""

    groups: list[Sequence[str]] = attrs.field(factory=list)
    writes: list[Deferred[Sequence[Failure | None]]] = attrs.field(factory=list)

    def write(self, group: Sequence[str]) -> Deferred[Sequence[Failure | None]]:
        """Begin to write a group."""
        self.groups.append(group)
        self.writes.append(Deferred())
        return self.writes[-1]

    def finish(self) -> None:
        """End the write that was begun last."""
        self.writes[-1].callback([None] * len(self.groups[-1]))


def written(deferred: Deferred[None]) -> bool:
    """Whether a Deferred has fired, and not with a failure."""
    fired: list[None] = []
    deferred.addCallback(fired.append)
    return bool(fired)


@pytest.fixture
def clock() -> Clock:
    """Time by hand."""
    return Clock()


@pytest.fixture
def disk() -> Disk:
    """A slow write."""
    return Disk()


@pytest.fixture
def commits(disk: Disk, clock: Clock) -> GroupCommit[str]:
    """What is tested."""
    return GroupCommit(disk.write, clock)


def test_one_turn_goes_together(commits: GroupCommit[str], disk: Disk, clock: Clock) -> None:
    """What is submitted in one turn is one group, told each its own outcome."""
    first, second = commits.submit("a"), commits.submit("b")
    assert disk.groups == []
    clock.advance(0)
    assert disk.groups == [["a", "b"]]
    disk.finish()
    assert written(first) and written(second)


def test_arrivals_during_a_write_go_together(
    commits: GroupCommit[str], disk: Disk, clock: Clock
) -> None:
    """Whatever arrives while a write is under way goes in the next one, at once."""
    commits.submit("a")
    clock.advance(0)
    commits.submit("b")
    clock.advance(0)
    commits.submit("c")
    assert disk.groups == [["a"]]
    disk.finish()
    assert disk.groups == [["a"], ["b", "c"]]


def test_next_write_begins_before_answers(
    commits: GroupCommit[str], disk: Disk, clock: Clock
) -> None:
    """The disk does not wait until all answers of the group before are made."""
    groups_when_told: list[int] = []
    commits.submit("a").addCallback(lambda _: groups_when_told.append(len(disk.groups)))
    clock.advance(0)
    commits.submit("b")
    disk.finish()
    assert groups_when_told == [2]


def test_one_failure_is_one_items(clock: Clock) -> None:
    """An item that fails alone fails nobody else."""
    commits: GroupCommit[str] = GroupCommit(
        lambda group: succeed([Failure(KeyError(i)) if i == "bad" else None for i in group]), clock
    )
    good, bad = commits.submit("good"), commits.submit("bad")
    clock.advance(0)
    assert written(good)
    assert isinstance(bad.result, Failure)
    assert bad.result.check(KeyError)
    bad.addErrback(lambda failure: None)


def test_failed_write_fails_the_group_only(
    commits: GroupCommit[str], disk: Disk, clock: Clock
) -> None:
    """When a write fails so does each of its items; the next group is written all the same."""
    failures: list[Failure] = []
    for item in "ab":
        commits.submit(item).addErrback(failures.append)
    clock.advance(0)
    after = commits.submit("c")
    disk.writes[-1].errback(OSError("disk"))
    assert len(failures) == 2
    disk.finish()
    assert written(after)


def test_cancelling_does_not_stop_the_write(
    commits: GroupCommit[str], disk: Disk, clock: Clock
) -> None:
    """Who cancels is told so at once; the item is written, and the others get their outcomes."""
    cancelled, other = commits.submit("a"), commits.submit("b")
    clock.advance(0)
    cancelled.addErrback(lambda failure: failure.trap(CancelledError) and None)
    cancelled.cancel()
    disk.finish()
    assert disk.groups == [["a", "b"]]
    assert written(other)


def test_drained(commits: GroupCommit[str], disk: Disk, clock: Clock) -> None:
    """Draining waits for what waits, what is written, and what is being told."""
    assert commits.drained().called
    told: list[str] = []
    commits.submit("a").addCallback(lambda _: told.append("A"))
    drained = commits.drained()
    clock.advance(0)
    commits.submit("b").addCallback(lambda _: told.append("B"))
    disk.finish()
    assert not drained.called
    drained.addCallback(lambda _: told.append("drained"))
    disk.finish()
    assert told == ["A", "B", "drained"]
    assert commits.drained().called


def test_submitting_while_told(commits: GroupCommit[str], disk: Disk, clock: Clock) -> None:
    """An answer that leads to another item does not upset anything."""
    later: list[Deferred[None]] = []
    commits.submit("a").addCallback(lambda _: later.append(commits.submit("b")))
    clock.advance(0)
    disk.finish()
    clock.advance(0)
    disk.finish()
    assert written(later[0])


def test_write_that_is_done_at_once(clock: Clock) -> None:
    """A write that needs no time is no recursion without end."""
    commits: GroupCommit[int] = GroupCommit(lambda group: succeed([None] * len(group)), clock)
    total: list[int] = []

    def more(_: None) -> None:
        total.append(len(total))
        if len(total) <= 3000:
            commits.submit(len(total)).addCallback(more)

    commits.submit(0).addCallback(more)
    while clock.getDelayedCalls():
        clock.advance(0)
    assert len(total) == 3001


def test_groups_are_bounded(disk: Disk, clock: Clock) -> None:
    """A group holds what its weight allows, or one heavy item; the rest follows in order."""
    commits: GroupCommit[str] = GroupCommit(disk.write, clock, lambda item: len(item) / 4)
    for item in ("aa", "b", "c", "d", "much too heavy", "e"):
        commits.submit(item)
    clock.advance(0)
    for _ in range(4):
        disk.finish()
    assert disk.groups == [["aa", "b", "c"], ["d"], ["much too heavy"], ["e"]]
    assert (sum(commits.sizes.counts), commits.sizes.total) == (4, 6)


def test_cancelled_before_its_write(commits: GroupCommit[str], disk: Disk, clock: Clock) -> None:
    """What nobody waits for any more is not written, if that has not begun."""
    first = commits.submit("a")
    clock.advance(0)
    waiting = commits.submit("b")
    waiting.addErrback(lambda failure: failure.trap(CancelledError) and None)
    waiting.cancel()
    drained = commits.drained()
    disk.finish()
    assert written(first)
    assert drained.called
    assert disk.groups == [["a"]]
    alone = commits.submit("c")
    alone.addErrback(lambda failure: failure.trap(CancelledError) and None)
    alone.cancel()
    clock.advance(0)
    assert disk.groups == [["a"]]
    assert commits.drained().called
