"""Lists of events in the SQLite file, where some are written together."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from kpiggybank.stores.sqlite.store import SQLiteStore
from tests.feed_contract import events


@ensureDeferred
@pytest.mark.parametrize("place", [0, 100, 249, 250, 300])
async def test_lists_that_were_written_together(tmp_path: Path, place: int) -> None:
    """They are in the file in their order, and whole, also with an odd timestamp among theirs."""
    times: list[float] = list(range(301))
    times[place] = 2**64
    given = events(times)
    path = str(tmp_path / "bank.sqlite3")
    store = SQLiteStore(reactor, path)
    await store.open()
    await gatherResults([store.append(given[:250]), store.append(given[250:])])
    await store.close()

    store = SQLiteStore(reactor, path)
    await store.open()
    changes = await store.changes(await store.first(), len(given) + 1)
    assert [change.event for change in changes] == given
    await store.close()
