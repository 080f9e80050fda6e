"""Single POSTs at 64 connections: KPIggyBank on SQLite / a Klein resource that only says "ok".

Each POST is a form with one sign-in event, acknowledged after it was synced to the disk. The two
servers are measured in turn, in one run, so that a noisy machine disturbs both; where there are two
cores, one is for the server and the other for the load. The ratio is what counts, the rates are not
comparable between machines.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
from typing import Any

from twisted.internet.task import react

from benchmarks.load import load
from benchmarks.servers import BANK, cpu_seconds, requests, server

CONNECTIONS = 64
SECONDS = 3.0
ROUNDS = 5

OK = [sys.executable, "-m", "benchmarks.ok_server"]


async def measure(reactor: Any, port: int, pid: int) -> tuple[float, float]:
    """Requests a second, and microseconds of the server's CPU for each."""
    before = cpu_seconds(pid)
    posts = itertools.cycle(requests())
    rate = await load(reactor, port, posts, b"HTTP/1.1 201 ", CONNECTIONS, SECONDS)
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
