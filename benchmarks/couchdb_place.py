"""The CouchDB to measure against, and requests that go to it straight."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs

#: The only database that is ever written to or deleted.
DATABASE = "bid_kpi_test"

#: Where the README's test command installs it.
POUCHDB = Path(sys.prefix) / "pouchdb" / "node_modules" / ".bin" / "pouchdb-server"

_START_SECONDS = 20.0


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
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as found,
    ):
        port = found.getsockname()[1]
        found.close()
        config = {"admins": {"kpiggybank": "kpiggybank"}}
        Path(folder, "config.json").write_text(json.dumps(config))
        options = ["--in-memory", "-n", "-o", "127.0.0.1", "-p", str(port), "-c", "config.json"]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(
                [str(POUCHDB), *options],
                cwd=folder,
                # Without this, a single request that it does not expect ends it.
                env={**os.environ, "NODE_OPTIONS": "--unhandled-rejections=warn"},
                stdout=log,
                stderr=log,
            )
            try:
                os.sched_setaffinity(process.pid, {core})
                _wait_for(port, process)
                here = Place("127.0.0.1", port, "kpiggybank", "kpiggybank", process.pid)
                yield from _clean(here)
            finally:
                process.kill()
                process.wait()


def _clean(place: Place) -> Iterator[Place]:
    place.forget()
    try:
        yield place
    finally:
        place.forget()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=_START_SECONDS)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
            return
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.05)
        finally:
            connection.close()
