"""Single POSTs at 64 connections: KPIggyBank on SQLite / a Klein resource that only says "ok".

Each POST is a form with one sign-in event, acknowledged after it was synced to the disk. The two
servers are measured in turn, in one run, so that a noisy machine disturbs both; where there are two
cores, one is for the server and the other for the load. The ratio is what counts, the rates are not
comparable between machines.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from twisted.internet.task import react

from benchmarks.load import load
from kpiggybank.sample import SignIns

CONNECTIONS = 64
SECONDS = 3.0
ROUNDS = 5

OK = [sys.executable, "-m", "benchmarks.ok_server"]
BANK = [sys.executable, "-m", "twisted", "kpiggybank"]


def requests() -> list[bytes]:
    """Whole requests, as the sign-in server of the first KPIggyBank sends them."""
    found = []
    for event in SignIns(seed=1).take(500):
        body = b"data=" + quote(msgspec.json.encode(event)).encode()
        found.append(
            b"POST /wsapi/interaction_data HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
    return found


@contextmanager
def server(command: list[str], core: int, **environ: str) -> Iterator[tuple[int, int]]:
    """A server as a process of its own, on a core of its own: its port and process id."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **environ},
    )
    try:
        os.sched_setaffinity(process.pid, {core})
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                yield int(found[1]), process.pid
                break
        else:
            raise RuntimeError(f"{command} did not start")
    finally:
        process.terminate()
        process.communicate()


def cpu_seconds(pid: int) -> float:
    """What a process has used of its core so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(reactor: Any, port: int, pid: int) -> tuple[float, float]:
    """Requests a second, and microseconds of the server's CPU for each."""
    before = cpu_seconds(pid)
    rate = await load(reactor, port, requests(), b"HTTP/1.1 201 ", CONNECTIONS, SECONDS)
    return rate, (cpu_seconds(pid) - before) / (rate * SECONDS) * 1e6


async def main(reactor: Any) -> None:
    """Measure in turn and print a table."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    with (
        tempfile.TemporaryDirectory() as folder,
        server(OK, cores[0]) as ok,
        server(BANK, cores[0], DB_BACKEND="sqlite", DATA_DIR=folder, PORT="0", MODE="prod") as bank,
    ):
        ratios = []
        print(f"single POSTs, {CONNECTIONS} connections, {SECONDS:g} s each, {ROUNDS} rounds")
        print("   KPIggyBank on SQLite |          Klein says ok | ratio")
        for _ in range(ROUNDS):
            ok_rate, ok_cpu = await measure(reactor, *ok)
            bank_rate, bank_cpu = await measure(reactor, *bank)
            ratios.append(bank_rate / ok_rate)
            print(
                f"{bank_rate:8.0f}/s {bank_cpu:5.0f} us CPU |"
                f" {ok_rate:8.0f}/s {ok_cpu:5.0f} us CPU | {ratios[-1]:.2f}"
            )
    print(f"ratio: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    react(main)
