"""Daemons on SQLite, and what they do under load."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path

import attrs

from benchmarks.connections import load
from benchmarks.databases import DB_NAME, Databases
from benchmarks.servers import BANK, cpu_seconds, server
from benchmarks.table import Turn

API = "/wsapi/interaction_data"
CREATED = b"HTTP/1.1 201 "
OK = b"HTTP/1.1 200 "
CONNECTIONS = 64


@attrs.frozen
class Process:
    """A server: where it listens, and the number of its process."""

    port: int
    pid: int

    def turn(
        self,
        requests: Iterable[bytes],
        expected: bytes,
        connections: int = CONNECTIONS,
        *,
        seconds: float = inf,
        events: int = 1,
    ) -> Turn:
        """Put it under load: the arguments of `load`, and how many events are in each request."""
        before = cpu_seconds(self.pid)
        answered = load(self.port, requests, expected, connections, seconds)
        used = cpu_seconds(self.pid) - before
        done = answered.answers * events
        return Turn(
            done / answered.seconds,
            used / done * 1e6,
            used / answered.seconds,
            answered.cpu_seconds / answered.seconds,
        )

    def memory(self, what: str) -> float:
        """Its memory now ("VmRSS") or at its peak ("VmHWM"), in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (size,) = re.findall(rf"^{what}:\s+(\d+) kB$", status, re.MULTILINE)
        return int(size) * 1024 / 1e6

    def forget_peak(self) -> None:
        """Let the peak begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


@attrs.frozen
class Bench:
    """Where to measure.

    Attributes:
        core: of the servers; the load has another one.
        databases: to be served.
    """

    core: int
    databases: Databases

    @contextmanager
    def bank(self, folder: Path) -> Iterator[Process]:
        """A daemon on the database in a folder."""
        settings = {
            "DB_BACKEND": "sqlite",
            "DB_NAME": DB_NAME,
            "DATA_DIR": str(folder),
            "HOST": "127.0.0.1",
            "PORT": "0",
            "LISTEN": "",
            "MODE": "prod",
        }
        with server(BANK, self.core, **settings) as (port, pid):
            yield Process(port, pid)

    @contextmanager
    def klein(self) -> Iterator[Process]:
        """The server that says "ok"."""
        command = [sys.executable, "-m", "benchmarks.ok_server"]
        with server(command, self.core) as (port, pid):
            yield Process(port, pid)

    def run(self, module: str, *arguments: object) -> subprocess.Popen[str]:
        """A program that talks through pipes."""
        return subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )


def get(path: str) -> bytes:
    """A whole request that asks."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def post(body: bytes) -> bytes:
    """A whole request that posts JSON."""
    return (
        f"POST {API} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
