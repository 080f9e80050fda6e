"""The CouchDB store: the contract, over HTTP, on servers that speak CouchDB's protocol."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from twisted.internet import reactor

from kpiggybank.interfaces import IEventBank
from kpiggybank.stores.couchdb.store import CouchDBStore
from tests.couchdb_servers import Place
from tests.store_contract import StoreContract


class TestCouchDBStore(StoreContract):
    """The contract on a database that others could use at the same time."""

    place: ClassVar[Place]

    @pytest.fixture(autouse=True)
    def _somewhere(self, couchdb: Place) -> None:
        # Not on the instance: pytest-twisted gives its fixtures another one.
        type(self).place = couchdb

    def make_store(self, folder: Path) -> IEventBank:
        """One on the server at hand."""
        return CouchDBStore(reactor, self.place.server())
