"""Rows 8 and 9: how long a POST takes."""

from __future__ import annotations

import itertools
import os
import select
import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

from benchmarks.connections import Connection
from benchmarks.daemons import CREATED, Bench, Process, Watch
from benchmarks.read_rows import MILLION_PATH
from benchmarks.servers import requests
from benchmarks.table import AtMost, Row, Turn
from benchmarks.write_rows import bulk_turn, bulks

ROUNDS = 5
PACED_SECONDS = 4.0
PACED_CONNECTIONS = 8
POSTS_A_SECOND = 200
BLOCK = 200
BLOCKS = 10
SYNCED_BYTES = 4096
#: Lists that fill the log, so that it begins anew, as in any daemon that has been up for a while.
#: As long as it grows, each sync takes longer.
FILLING_REQUESTS = 60


def beside_a_range(bench: Bench) -> Iterable[Row]:
    """Row 8."""
    row = Row(8, "POST p99 beside a range", "POST p99 alone", AtMost(3), "ms", digits=2)
    posts = itertools.cycle(requests())
    with bench.bank(bench.databases.million_more()) as bank:
        _paced(bank, posts)
        for _ in range(ROUNDS):
            alone = _paced(bank, posts)
            with _reading(bench, bank.port):
                row.add(_paced(bank, posts), alone)
    return [row]


@contextmanager
def _reading(bench: Bench, port: int) -> Iterator[None]:
    """While a million events are being read, by a process on the load's core."""
    with bench.run("benchmarks.ranges", port, MILLION_PATH) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        yield
        reader.terminate()
        lines, _ = reader.communicate()
        if int(lines.split()[-1]) < 1e6:
            raise RuntimeError("next to nothing was read")


def _paced(bank: Process, posts: Iterator[bytes]) -> Turn:
    """What POSTs took since they were due, whether a connection was free then or not."""
    opened = {
        each.socket: each
        for each in (Connection(bank.port, CREATED) for _ in range(PACED_CONNECTIONS))
    }
    free = list(opened.values())
    sent: dict[Connection, float] = {}
    waiting: deque[float] = deque()
    watch, started = Watch(bank), time.perf_counter()
    count = round(PACED_SECONDS * POSTS_A_SECOND)
    coming = deque(started + number / POSTS_A_SECOND for number in range(count))
    found: list[float] = []
    late: list[float] = []
    while len(found) < count:
        now = time.perf_counter()
        while coming and coming[0] <= now:
            if free:
                late.append((now - coming[0]) * 1000)
            waiting.append(coming.popleft())
        while waiting and free:
            connection = free.pop()
            sent[connection] = waiting.popleft()
            connection.begin(next(posts))
        # Not epoll, which knows milliseconds only.
        patience = max(0.0, coming[0] - time.perf_counter()) if coming else 60.0
        for ready in select.select([each.socket for each in sent], [], [], patience)[0]:
            connection = opened[ready]
            if connection.receive():
                found.append((time.perf_counter() - sent.pop(connection)) * 1000)
                free.append(connection)
    for each in opened.values():
        each.close()
    others = watch.turn(count, time.perf_counter() - started).others
    return Turn(_p99(found), others=others, late_ms=_p99(late))


def _p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def one_at_a_time(bench: Bench) -> Iterable[Row]:
    """Row 9."""
    label, goal = "one POST at a time, p50", AtMost(4)
    rows = [
        Row(9, label, "fdatasync p50, the load's core", goal, "ms", digits=3),
        Row(9, label, "fdatasync p50, the servers' core", goal, "ms", digits=3),
    ]
    posts = itertools.cycle(requests())
    folder = bench.databases.empty()
    with bench.bank(folder) as bank, TemporaryFile(dir=folder, buffering=0) as file:
        connection = Connection(bank.port, CREATED)
        bulk_turn(bank, bulks(0), FILLING_REQUESTS)
        for number in range(1 + BLOCKS):
            bare = statistics.median(_sync(file.fileno()) for _ in range(BLOCK))
            whole = statistics.median(_ask(connection, next(posts)) for _ in range(BLOCK))
            with _on(bench.core):
                there = statistics.median(_sync(file.fileno()) for _ in range(BLOCK))
            if number:  # the first ones are to get warm
                for row, side in zip(rows, (bare, there), strict=True):
                    row.add(Turn(whole), Turn(side))
    return rows


@contextmanager
def _on(core: int) -> Iterator[None]:
    """Be on another core for a while."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


def _sync(file: int) -> float:
    started = time.perf_counter()
    os.write(file, bytes(SYNCED_BYTES))
    os.fdatasync(file)
    return (time.perf_counter() - started) * 1000


def _ask(connection: Connection, request: bytes) -> float:
    started = time.perf_counter()
    connection.ask(request)
    return (time.perf_counter() - started) * 1000
