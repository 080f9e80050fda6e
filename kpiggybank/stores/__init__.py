"""The stores, and the only table of their names."""

from __future__ import annotations

import os
from typing import Any, Protocol

from kpiggybank.interfaces import IEventBank
from kpiggybank.outgoing.places import base_url
from kpiggybank.stores.couchdb.server import Limits, Server
from kpiggybank.stores.couchdb.store import CouchDBStore
from kpiggybank.stores.dummy import DummyStore
from kpiggybank.stores.memory import MemoryStore
from kpiggybank.stores.sqlite.store import SQLiteStore

#: The values of DB_BACKEND.
NAMES = ("couchdb", "sqlite", "memory", "dummy")


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

    @property
    def db_host(self) -> str:
        """CouchDB's host or URL."""

    @property
    def db_port(self) -> int:
        """CouchDB's port, unless a URL has it."""

    @property
    def db_user(self) -> str:
        """CouchDB's user, empty for no authentication."""

    @property
    def db_pass(self) -> str:
        """That user's password."""

    @property
    def db_connect_timeout(self) -> float:
        """Seconds for a connection to CouchDB."""

    @property
    def db_answer_timeout(self) -> float:
        """Seconds until an answer of CouchDB begins, and that it may be silent within."""

    @property
    def db_total_timeout(self) -> float:
        """Seconds that CouchDB may take in all."""


def open_store(settings: StoreSettings, reactor: Any) -> IEventBank:
    """The store of the configured kind, made but not yet opened.

    Args:
        settings: say which.
        reactor: for the store's threads, connections and timers.

    Raises:
        ValueError: the settings name no place; the text is one line.
    """
    match settings.db_backend:
        case "couchdb":
            limits = Limits(
                settings.db_connect_timeout, settings.db_answer_timeout, settings.db_total_timeout
            )
            place = base_url(settings.db_host, None, settings.db_port)
            user, password = settings.db_user, settings.db_pass
            server = Server(reactor, place, settings.db_name, user, password, limits)
            return CouchDBStore(reactor, server)
        case "sqlite":
            path = os.path.join(settings.data_dir, f"{settings.db_name}.sqlite3")
            return SQLiteStore(reactor, path)
        case "memory":
            return MemoryStore()
        case "dummy":
            return DummyStore()
        case other:
            raise ValueError(f"there is no store {other!r}")
