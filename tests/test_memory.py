"""The memory store: the contract, and what is its own."""

from __future__ import annotations

from pathlib import Path

from pytest_twisted import ensureDeferred

from kpiggybank.events import Range
from kpiggybank.interfaces import IEventBank
from kpiggybank.stores.memory import MemoryStore
from tests.feed_contract import ArrivalContract, events
from tests.store_contract import StoreContract


class TestMemoryStore(StoreContract, ArrivalContract):
    """The contract on a memory store."""

    def make_store(self, folder: Path) -> IEventBank:
        """A new one."""
        return MemoryStore()


def test_says_that_it_keeps_nothing() -> None:
    """An operator who starts it is warned."""
    assert "nothing is kept" in MemoryStore().describe()


@ensureDeferred
async def test_destroy() -> None:
    """Nothing is left of it."""
    store = MemoryStore()
    await store.append(events([1, 2]))
    await store.destroy()
    assert await store.count(Range()) == 0
