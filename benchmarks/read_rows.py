"""Rows 4 to 7: what it costs to ask a million events."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from random import Random

import msgspec

from benchmarks.connections import Connection
from benchmarks.daemons import API, OK, Bench, Process, Watch, get
from benchmarks.databases import FIRST_MS, LAST_MS, MILLION, database_in, timestamp_of
from benchmarks.ranges import RangeReader, count_events
from benchmarks.table import AtLeast, Below, Row, Turn

#: The median of many says more where others disturb the machine.
ROUNDS = 15
RANGE_ROUNDS = 9
SECONDS = 0.4
WARM_SECONDS = 0.3
MILLION_PATH = f"{API}?start={FIRST_MS}&end={LAST_MS}"
FEW_EVENTS = 10
_DIFFERENT = 1000
_PING = get("/wsapi/ping")


def whole_ranges(bench: Bench) -> Iterable[Row]:
    """Rows 4 and 5; a daemon is new for each turn, so that its memory has not grown before."""
    rows = Row(4, "rows of a million", "plain sqlite3 loop", AtLeast(1.0), "/s", "a row")
    first = Row(5, "first byte of that range", "", Below(50), "ms", digits=1)
    memory = Row(5, "memory for it, peak less idle", "", Below(32), "MB", digits=1)
    folder = bench.databases.million
    with bench.bank(folder) as bank:
        _check(count_events(bank.port, MILLION_PATH), MILLION)
    for _ in range(RANGE_ROUNDS):
        with bench.bank(folder) as bank:
            Connection(bank.port, OK).ask(_PING)
            idle = bank.memory("VmRSS")
            bank.forget_peak()
            watch = Watch(bank)
            read = RangeReader(bank.port).read(MILLION_PATH)
            turn = watch.turn(MILLION, read.seconds)
            first.add(Turn(read.first_seconds * 1000))
            memory.add(Turn(bank.memory("VmHWM") - idle))
            rows.add(turn, _plain(bench))
    return [rows, first, memory]


def _plain(bench: Bench) -> Turn:
    file = database_in(bench.databases.million)
    with bench.run("benchmarks.plain_reader", bench.core, file, FIRST_MS, LAST_MS) as reader:
        assert reader.stdout is not None
        seconds, cpu = map(float, reader.stdout.readline().split())
    return Turn(MILLION / seconds, cpu / MILLION * 1e6, others=1 - cpu / seconds)


def few(bench: Bench) -> Iterable[Row]:
    """Row 6."""
    row = Row(6, f"{FEW_EVENTS} rows of a million", "ping", AtLeast(0.4), "/s", "a request")
    random = Random(1)
    places = [random.randrange(MILLION - FEW_EVENTS) for _ in range(_DIFFERENT)]
    asked = [
        f"{API}?start={timestamp_of(place)}&end={timestamp_of(place + FEW_EVENTS - 1)}"
        for place in places
    ]
    with bench.bank(bench.databases.million) as bank:
        answer = Connection(bank.port, OK).ask(get(asked[0]))
        _check(len(msgspec.json.decode(answer)), FEW_EVENTS)
        _in_turn(bank, row, asked)
    return [row]


def counts(bench: Bench) -> Iterable[Row]:
    """Row 7."""
    row = Row(7, "count of a million", "ping", AtLeast(0.6), "/s", "a request")
    with bench.bank(bench.databases.million) as bank:
        _check(int(Connection(bank.port, OK).ask(get(f"{API}/count"))), MILLION)
        _in_turn(bank, row, [f"{API}/count"])
    return [row]


def _in_turn(bank: Process, row: Row, paths: list[str]) -> None:
    asked, pings = itertools.cycle(map(get, paths)), itertools.repeat(_PING)
    for requests in (asked, pings):
        bank.turn(requests, OK, seconds=WARM_SECONDS)
    for _ in range(ROUNDS):
        ping = bank.turn(pings, OK, seconds=SECONDS)
        row.add(bank.turn(asked, OK, seconds=SECONDS), ping)


def _check(found: int, expected: int) -> None:
    if found != expected:
        raise RuntimeError(f"{found} events instead of {expected}")
