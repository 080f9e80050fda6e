"""The CouchDB to measure against, and requests that go to it straight."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import unquote, urlsplit

import attrs

from benchmarks.pouchdb import pouchdb_server

#: The only database that is ever written to or deleted.
DATABASE = "bid_kpi_test"


@attrs.frozen
class Place:
    """A server that speaks CouchDB's protocol, and who we are there.

    Attributes:
        pid: of its process if we have started it, otherwise None.
    """

    host: str
    port: int
    user: str
    password: str
    pid: int | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The settings of a daemon that uses it, and has all the time in the world."""
        return {
            "DB_BACKEND": "couchdb",
            "DB_HOST": f"http://{self.host}:{self.port}",
            "DB_NAME": DATABASE,
            "DB_USER": self.user,
            "DB_PASS": self.password,
            "DB_ANSWER_TIMEOUT": "60",
            "DB_TOTAL_TIMEOUT": "60",
            "PORT": "0",
            "MODE": "prod",
        }

    @property
    def login(self) -> str:
        """The header that says who we are."""
        return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """A whole request; the path is that within the database."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = (
            f"{method} /{DATABASE}{path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Authorization: {self.login}\r\nAccept: application/json\r\n"
            f"Content-Type: application/json\r\n{length}\r\n"
        )
        return head.encode() + body

    def says(self) -> str:
        """What the server says about itself, on one line."""
        connection = HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request("GET", "/", headers={"Authorization": self.login})
            return " ".join(connection.getresponse().read().decode().split())
        finally:
            connection.close()

    def forget(self) -> None:
        """Delete the database, if it is there."""
        connection = HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request("DELETE", f"/{DATABASE}", headers={"Authorization": self.login})
            status = connection.getresponse().status
            if status not in (200, 202, 404):
                raise RuntimeError(f"the database was not deleted: {status}")
        finally:
            connection.close()


@contextmanager
def place_at_hand(core: int) -> Iterator[Place]:
    """The CouchDB of the environment, or a pouchdb-server of our own; the database is gone after.

    Args:
        core: the only one that a pouchdb-server of our own may use.
    """
    given = os.environ.get("KPIGGYBANK_TEST_COUCHDB", "")
    if given:
        parts = urlsplit(given)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        yield from _clean(Place(parts.hostname or "", parts.port or 5984, user, password))
        return
    with pouchdb_server("kpiggybank", "kpiggybank") as (port, pid):
        os.sched_setaffinity(pid, {core})
        yield from _clean(Place("127.0.0.1", port, "kpiggybank", "kpiggybank", pid))


def _clean(place: Place) -> Iterator[Place]:
    place.forget()
    try:
        yield place
    finally:
        place.forget()
