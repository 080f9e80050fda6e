"""A pouchdb-server of our own, which speaks CouchDB's protocol and keeps all in memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

#: Where the README's test command installs it.
POUCHDB = Path(sys.prefix) / "pouchdb" / "node_modules" / ".bin" / "pouchdb-server"

_START_SECONDS = 20.0


@contextmanager
def pouchdb_server(user: str, password: str) -> Iterator[tuple[int, int]]:
    """A server with one admin, at a port of 127.0.0.1: the port, and the number of its process."""
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("wb") as log:
        Path(folder, "config.json").write_text(json.dumps({"admins": {user: password}}))
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        options = ["--in-memory", "-n", "-o", "127.0.0.1", "-p", str(port), "-c", "config.json"]
        # Without this, a single request that it does not expect ends it.
        environ = {**os.environ, "NODE_OPTIONS": "--unhandled-rejections=warn"}
        process = subprocess.Popen(
            [str(POUCHDB), *options], cwd=folder, env=environ, stdout=log, stderr=log
        )
        try:
            _wait_for(port, process)
            yield port, process.pid
        finally:
            process.kill()
            process.wait()


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
