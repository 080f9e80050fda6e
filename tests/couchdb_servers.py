"""Servers that speak CouchDB's protocol, and the one database on them that tests may delete."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from benchmarks.pouchdb import POUCHDB, pouchdb_server
from kpiggybank.stores.couchdb.server import Limits, Server

#: The only database that is ever deleted by the tests.
DATABASE = "bid_kpi_test"

#: A CouchDB to run the same tests against, as http://user:password@host:port.
GIVEN = os.environ.get("KPIGGYBANK_TEST_COUCHDB", "")


@attrs.frozen
class Place:
    """A server and who we are there."""

    url: str
    user: str
    password: str

    @classmethod
    def of(cls, url: str) -> Place:
        """The place that a URL with a login tells."""
        parts = urlsplit(url)
        bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return cls(bare, unquote(parts.username or ""), unquote(parts.password or ""))

    @property
    def environ(self) -> dict[str, str]:
        """The settings of a daemon that uses it."""
        return {
            "DB_BACKEND": "couchdb",
            "DB_HOST": self.url,
            "DB_NAME": DATABASE,
            "DB_USER": self.user,
            "DB_PASS": self.password,
        }

    def server(self, name: str = DATABASE, limits: Limits | None = None) -> Server:
        """Our way to a database there; a busy machine gets more time than a user would."""
        limits = limits or Limits(connect=5, answer=15, total=20)
        return Server(reactor, self.url, name, self.user, self.password, limits)

    async def forget(self) -> None:
        """Delete the test database."""
        server = self.server()
        try:
            await server.ask("DELETE", "", object, expected=(200, 202, 404))
        finally:
            await server.close()

    async def empty(self) -> None:
        """Delete all that is in the test database, but not what KPIggyBank needs there.

        To delete a database and make it anew at once is more than a cluster likes.
        """
        server = self.server()
        try:
            _, answer = await server.ask("GET", "/_all_docs", dict, expected=(200, 404))
            gone = [
                {"_id": row["id"], "_rev": row["value"]["rev"], "_deleted": True}
                for row in (answer or {"rows": []})["rows"]
                if not row["id"].startswith("_design/")
            ]
            if gone:
                body = json.dumps({"docs": gone}).encode()
                await server.ask("POST", "/_bulk_docs", list, body=body, expected=(201, 202))
        finally:
            await server.close()


@pytest.fixture(scope="session")
def pouchdb() -> Iterator[Place]:
    """A pouchdb-server of our own, which keeps all in memory."""
    if not POUCHDB.exists():
        if "KPIGGYBANK_DEMAND_POUCHDB" in os.environ:
            pytest.fail(f"pouchdb-server is to be tested, and is not at {POUCHDB}")
        pytest.skip("pouchdb-server is not installed; `make test` does that where there is npm")
    user, password = "keeper", "pass:w/rd"  # words that are nowhere else
    with pouchdb_server(user, password) as (port, _):
        yield Place(f"http://127.0.0.1:{port}", user, password)


@pytest.fixture(scope="session", params=["pouchdb", "given"] if GIVEN else ["pouchdb"])
def couchdb_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each server that speaks CouchDB's protocol in turn; the test database is gone afterwards."""
    place = Place.of(GIVEN) if request.param == "given" else request.getfixturevalue("pouchdb")
    pytest_twisted.blockon(Deferred.fromCoroutine(place.forget()))
    yield place
    pytest_twisted.blockon(Deferred.fromCoroutine(place.forget()))


@pytest_twisted.async_fixture
async def couchdb(couchdb_place: Place) -> Place:
    """A server whose test database, if it is there, holds no events."""
    await couchdb_place.empty()
    return couchdb_place
