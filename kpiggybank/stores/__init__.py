"""The stores, and the only table of their names."""

from __future__ import annotations

import os
from typing import Any, Protocol

from kpiggybank.interfaces import IEventBank
from kpiggybank.stores.dummy import DummyStore
from kpiggybank.stores.memory import MemoryStore
from kpiggybank.stores.sqlite import SQLiteStore

#: The values of DB_BACKEND that this version can serve.
NAMES = ("sqlite", "memory", "dummy")


class StoreSettings(Protocol):
    """The settings that choose and place a store; see `kpiggybank.config.Config`."""

    @property
    def db_backend(self) -> str:
        """One of `NAMES`."""

    @property
    def db_name(self) -> str:
        """The database's name."""

    @property
    def data_dir(self) -> str:
        """The folder of the SQLite file."""


def open_store(settings: StoreSettings, reactor: Any) -> IEventBank:
    """The store of the configured kind, made but not yet opened.

    Args:
        settings: say which.
        reactor: for the store's threads and timers.
    """
    match settings.db_backend:
        case "sqlite":
            path = os.path.join(settings.data_dir, f"{settings.db_name}.sqlite3")
            return SQLiteStore(reactor, path)
        case "memory":
            return MemoryStore()
        case "dummy":
            return DummyStore()
        case other:
            raise ValueError(f"there is no store {other!r}")
