"""Ids as the server makes them."""

from __future__ import annotations

from twisted.internet.task import Clock

from kpiggybank.mint import Mint


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
