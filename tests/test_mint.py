"""Ids as the server makes them."""

from __future__ import annotations

import msgspec
import pytest
from twisted.internet.task import Clock

from kpiggybank.mint import Mint, Minted


def test_ids_are_in_order_of_time() -> None:
    """Ids grow, also within a millisecond and when the clock is set back."""
    clock = Clock()
    clock.advance(1_700_000_000)
    mint = Mint(clock.seconds)
    ids = [mint() for _ in range(1000)]
    clock.advance(0.001)
    ids.append(mint())
    clock.rightNow -= 3600
    ids += [mint() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {len(id) for id in ids} == {28}


def test_two_mints_do_not_meet() -> None:
    """Servers with the same clock make different ids."""
    clock = Clock()
    mints = Mint(clock.seconds), Mint(clock.seconds)
    assert len({mint() for mint in mints for _ in range(1000)}) == 2000


def test_several_ids_are_like_others() -> None:
    """Ids for a list come in order, after those before and before those after."""
    mint = Mint()
    ids = [mint(), *mint.several(100), mint(), *mint.several(0), *mint.several(1), mint()]
    assert ids == sorted(set(ids))
    assert len(ids) == 104


@pytest.mark.parametrize("ending", ["000", "ffe", "fff"])
def test_ids_of_a_list_are_a_sequence(ending: str) -> None:
    """They are there one by one, in part and as JSON, wherever their endings begin anew."""
    mint = Mint(Clock().seconds)
    start = "1" * 25 + ending
    mint.go_on_after(start)
    ids = mint.several(5000)
    expected = [f"{int(start, 16) + place:028x}" for place in range(1, 5001)]
    assert list(ids) == expected
    assert len(ids) == 5000
    assert [ids[place] for place in (0, 1, 4999, -1)] == [expected[p] for p in (0, 1, 4999, -1)]
    assert ids[1:5:2] == expected[1:5:2]
    with pytest.raises(IndexError):
        ids[5000]
    assert isinstance(ids, Minted)
    assert msgspec.json.decode(ids.json) == expected
    assert mint() == f"{int(start, 16) + 5001:028x}"


def test_no_ids() -> None:
    """A list may be empty."""
    ids = Mint().several(0)
    assert list(ids) == []
    assert isinstance(ids, Minted)
    assert bytes(ids.json) == b"[]"


def test_ids_go_on_after_an_earlier_process() -> None:
    """Ids of a new process are greater than the old ones, though the clock was set back."""
    clock = Clock()
    clock.advance(1_700_000_000)
    latest = Mint(clock.seconds)()
    clock.rightNow -= 3600
    mint = Mint(clock.seconds)
    mint.go_on_after(latest)
    assert latest < mint() < mint.horizon
