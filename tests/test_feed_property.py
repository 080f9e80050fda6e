"""Whatever happens to followers and to the bank, each is told all that it wants, in order, once."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import pytest
import pytest_twisted
from hypothesis import settings
from twisted.internet import reactor

from kpiggybank import bank, feed, pieces
from kpiggybank.stores import bounds, ring
from kpiggybank.web import outlet, ranges
from tests.feed_machine import FeedMachine
from tests.feed_stores import LazyMemoryStore, LazySQLiteStore, LazyStore


class MemoryMachine(FeedMachine):
    """The bank's store is in memory, and outlives a restart."""

    def opened(self, before: LazyStore | None) -> LazyStore:
        """The same store."""
        return before or LazyMemoryStore()


class SQLiteMachine(FeedMachine):
    """The bank's store is in a file, which is opened again after a restart."""

    def __init__(self) -> None:
        self.folder = TemporaryDirectory()
        super().__init__()

    def opened(self, before: LazyStore | None) -> LazyStore:
        """Another store in the same file."""
        if before is not None:
            pytest_twisted.blockon(before.close())
        store = LazySQLiteStore(reactor, f"{self.folder.name}/bank.sqlite3")
        pytest_twisted.blockon(store.open())
        return store

    def teardown(self) -> None:
        """Remove the file, too."""
        super().teardown()
        self.folder.cleanup()


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces, pages and rings so small that a few events go beyond each of them."""
    for module, name, size in (
        (bank, "EVENTS_COUNTED_AT_ONCE", 3),
        (feed, "BELLS_AT_ONCE", 2),
        (feed, "CHANGES_AT_ONCE", 4),
        (feed, "CHANGES_BYTES", 600),
        (outlet, "SLICE_BYTES", 300),
        (pieces, "SHELF_BYTES", 1500),
        (pieces, "SHELF_PIECES", 3),
        (ring, "RING_BYTES", 3000),
        (ring, "RING_CHANGES", 9),
        (bounds, "CHANGES_BYTES", 600),
        (bounds, "PASSED_OVER", 2),
        (ranges, "BYTES_AT_ONCE", 1200),
        (ranges, "EVENTS_AT_ONCE", 3),
        (ranges, "PAGE_BYTES", 1200),
    ):
        monkeypatch.setattr(module, name, size)


# As test cases they run outside of the reactor, which they let turn.
pytestmark = pytest.mark.usefixtures("small_pieces")

TestInMemory: Any = MemoryMachine.TestCase
TestInMemory.settings = settings(
    max_examples=80, stateful_step_count=40, derandomize=True, deadline=None
)
TestInFiles: Any = SQLiteMachine.TestCase
TestInFiles.settings = settings(TestInMemory.settings, max_examples=60)
