"""Followers: what they tell, in which order, and at whose pace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from twisted.internet.defer import CancelledError, Deferred

from kpiggybank.bank import BEGINNING
from kpiggybank.events import Event
from kpiggybank.feed import BELLS_AT_ONCE, CHANGES_AT_ONCE
from kpiggybank.interfaces import InvalidCursor, StoreUnavailable
from kpiggybank.stores.dummy import RING, DummyStore
from kpiggybank.stores.memory import MemoryStore
from tests.followers import Stage, conditions, stage_of
from tests.reading import from_json
from tests.web_client import StagedStore, has_fired, result_of


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A bank in memory."""
    yield from stage_of()


def test_hears_what_comes(stage: Stage) -> None:
    """A waiting follower gets a new event in the next turn, and nothing of before."""
    stage.deposit(1)
    _, ear = stage.follow()
    assert ear.times == []
    stage.deposit(2)
    assert ear.times == [2]


def test_stored_before_telling(stage: Stage) -> None:
    """What is stored between following and telling is not missed."""
    follower = result_of(Deferred.fromCoroutine(stage.bank.follow()))
    stage.deposit(1, 2)
    _, ear = stage.tell(follower)
    assert ear.times == [1, 2]


def test_what_comes_together_is_told_together(stage: Stage) -> None:
    """Changes of one turn are one piece, the same one for all who keep up."""
    ears = [stage.follow()[1] for _ in range(3)]
    stage.deposit(1, 2, 3)
    stage.deposit(4)
    assert [[len(piece.changes) for piece in ear.pieces] for ear in ears] == [[3, 1]] * 3
    assert ears[0].pieces[0] is ears[1].pieces[0] is ears[2].pieces[0]


def test_catching_up_is_paged(stage: Stage) -> None:
    """However far behind, a follower tells all, in order, so many at a time."""
    stage.deposit(*range(2 * CHANGES_AT_ONCE + 5))
    _, ear = stage.follow(BEGINNING)
    lengths = [len(piece.changes) for piece in ear.pieces]
    assert lengths == [CHANGES_AT_ONCE, CHANGES_AT_ONCE, 5]
    assert ear.times == list(range(2 * CHANGES_AT_ONCE + 5))


def test_from_every_place(stage: Stage) -> None:
    """A cursor leads on without gap or repeat, for old and new changes alike."""
    first, first_ear = stage.follow()
    stage.deposit(1, 2, 3)
    cursors = [change.cursor for piece in first_ear.pieces for change in piece.changes]
    assert first.cursor == cursors[-1]
    ears = [stage.follow(cursor)[1] for cursor in cursors]
    stage.deposit(4)
    assert [ear.times for ear in ears] == [[2, 3, 4], [3, 4], [4]]


def test_slow_listener(stage: Stage) -> None:
    """A listener that is full is told nothing more, and then goes on where it was."""
    _, slow = stage.follow()
    _, quick = stage.follow()
    slow.full = True
    for time in range(5):
        stage.deposit(time)
    assert (slow.times, quick.times) == ([0], [0, 1, 2, 3, 4])
    slow.full = False
    slow.empty()
    stage.turn()
    assert slow.times == [0, 1, 2, 3, 4]
    stage.deposit(5)
    assert slow.times == [0, 1, 2, 3, 4, 5]


def test_slow_listener_catches_up_beyond_the_shelf(stage: Stage) -> None:
    """Who was slow for so long that the others' pieces are forgotten misses nothing either."""
    _, slow = stage.follow()
    slow.full = True
    for time in range(200):
        stage.deposit(time)
    slow.full = False
    slow.empty()
    stage.turn()
    assert slow.times == list(range(200))


def test_listener_that_fails(stage: Stage) -> None:
    """What goes wrong with one follower is its own end, and nobody else's."""
    ears = [stage.follow()[1] for _ in range(3)]
    ears[1].error = ZeroDivisionError()
    stage.deposit(1)
    stage.deposit(2)
    assert [ear.times for ear in ears] == [[1, 2], [], [1, 2]]
    with pytest.raises(ZeroDivisionError):
        result_of(stage.told[1])
    assert len(stage.feed) == 2


def test_many_followers(stage: Stage) -> None:
    """A round in several turns leaves nobody out, also when more is stored meanwhile."""
    ears = [stage.follow()[1] for _ in range(2 * BELLS_AT_ONCE)]
    for time in range(3):
        stage.bank.deposit(from_json(b'{"timestamp":%d}' % time))
        stage.clock.advance(0)
    stage.turn()
    assert all(ear.times == [0, 1, 2] for ear in ears)


def test_nonsense(stage: Stage) -> None:
    """A wrong cursor is found before there is a follower."""
    with pytest.raises(InvalidCursor):
        result_of(Deferred.fromCoroutine(stage.bank.follow("nonsense")))


def test_silence(stage: Stage) -> None:
    """After so many seconds without a change it tells of that, again and again."""
    follower, ear = stage.follow()
    stage.clock.advance(14.9)
    assert ear.silences == []
    stage.clock.advance(0.2)
    assert ear.silences == [follower.cursor]
    stage.clock.advance(15)
    assert len(ear.silences) == 2
    stage.deposit(1)
    assert ear.times == [1]


def test_change_puts_silence_off(stage: Stage) -> None:
    """Silence is counted from the last change that was told."""
    _, ear = stage.follow()
    for time in range(5):
        stage.clock.advance(10)
        stage.deposit(time)
    assert ear.silences == []
    stage.clock.advance(14.9)
    assert ear.silences == []
    stage.clock.advance(0.1)
    assert len(ear.silences) == 1


def test_unwanted_changes_are_silence(stage: Stage) -> None:
    """What is passed over does not put the sign of life off, and the place moves on."""
    follower, ear = stage.follow(where=conditions("kind:a"))
    stage.clock.advance(10)
    stage.deposit(1, kind="b")
    stage.clock.advance(5)
    assert ear.silences == [follower.cursor] == [result_of(stage.store.last())]


def test_where(stage: Stage) -> None:
    """Only what is wanted is told, old and new, and followers who want the same share it."""
    for time in range(4):
        stage.deposit(time, kind="ab"[time % 2])
    ears = [stage.follow(BEGINNING, where=conditions("kind:b"))[1] for _ in range(2)]
    _, other = stage.follow(BEGINNING)
    stage.deposit(4, 5, kind="b")
    stage.deposit(6, kind="a")
    assert [ear.times for ear in ears] == [[1, 3, 4, 5]] * 2
    assert other.times == list(range(7))
    assert ears[0].pieces[-1].changes is ears[1].pieces[-1].changes


def test_where_in_a_long_past(stage: Stage) -> None:
    """A search through much that is not wanted gives the reactor its turns."""
    stage.deposit(*range(3 * CHANGES_AT_ONCE))
    stage.deposit(-1, wanted=True)
    follower = result_of(
        Deferred.fromCoroutine(stage.bank.follow(BEGINNING, where=conditions("wanted:true")))
    )
    _, ear = stage.tell(follower)
    assert ear.times == [-1]


def test_store_that_fails_for_a_while() -> None:
    """A follower without end outlives that, and asks again at the next ring or silence."""
    store = StagedStore()
    for stage in stage_of(store):
        _, ear = stage.follow()
        store.error = StoreUnavailable("gone")
        stage.feed.ring()
        stage.turn()
        stage.clock.advance(15)
        assert len(ear.silences) == 1
        store.error = None
        stage.deposit(1)
        assert ear.times == [1]


def test_lost_ring(stage: Stage) -> None:
    """Even what nobody rang for is found after a silence."""
    _, ear = stage.follow()
    result_of(stage.store.append([Event("quiet", 1, b'{"timestamp":1}')]))
    stage.clock.advance(15)
    stage.turn()
    assert ear.times == [1]


def test_gap() -> None:
    """Where the store has forgotten, that is told first, and then all that it still knows."""
    for stage in stage_of(DummyStore()):
        follower, ear = stage.follow()
        ear.full = True
        stage.deposit(0)
        stage.deposit(*range(1, RING + 11))
        ear.full = False
        ear.empty()
        stage.turn()
        gap = ear.pieces[1]
        assert gap.reset and not gap.changes
        assert ear.times == [0, *range(11, RING + 11)]
        assert follower.cursor == result_of(stage.store.last())


def test_gap_with_conditions() -> None:
    """A gap is told also to those who want only some changes."""
    for stage in stage_of(DummyStore()):
        start = result_of(stage.store.last())
        stage.deposit(*range(RING + 1))
        _, ear = stage.follow(start, where=conditions("timestamp:5"), limit=1)
        assert [piece.reset is not None for piece in ear.pieces] == [True, False]
        assert ear.times == [5]


def test_deposit_rings_without_its_sender() -> None:
    """Followers hear of an event also when its sender gave up before the ack."""

    class SlowStore(MemoryStore):
        """Appends when told to."""

        go: Deferred[None]

        def append(self, events: Sequence[Event], absent: Sequence[str] = ()) -> Deferred[None]:
            """Store them later."""
            self.go = Deferred()
            return self.go.addCallback(lambda _: self._append(events, absent))

    store = SlowStore()
    for stage in stage_of(store):
        _, ear = stage.follow()
        answer = stage.bank.deposit(from_json(b'{"timestamp":1}'))
        answer.addErrback(lambda failure: failure.trap(CancelledError) and None)
        answer.cancel()
        store.go.callback(None)
        assert has_fired(answer)
        stage.turn()
        assert ear.times == [1]
