"""Rows 1 to 3: what it costs to store events."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from benchmarks.daemons import CREATED, Bench, Process, post
from benchmarks.databases import HUNDRED_THOUSAND, MILLION, database_in, events
from benchmarks.servers import free_memory, requests
from benchmarks.table import AtLeast, Row, Turn

ROUNDS = 5
#: Of row 2: the median of many short turns says more where others disturb the machine. The events
#: for the other side are enough for half of them; then both begin anew.
BULK_HALVES, BULK_ROUNDS = 2, 11
SINGLE_SECONDS = 2.0
WARM_SECONDS = 0.5
BULK_EVENTS = 1000
#: So that the next request is there when the server has done with one, or waits for the disk.
BULK_CONNECTIONS = 8
#: Of a turn of row 2, and of row 3, where the databases must not grow by much.
BULK_REQUESTS = 80
STORED_REQUESTS = 30


def single_posts(bench: Bench) -> Iterable[Row]:
    """Row 1."""
    row = Row(1, "form POSTs, durable", "Klein parses the form", AtLeast(1.0), "/s", "a request")
    posts = itertools.cycle(requests())
    with bench.klein() as klein, bench.bank(bench.databases.empty()) as bank:
        for server in (klein, bank):
            server.turn(posts, CREATED, seconds=WARM_SECONDS)
        for _ in range(ROUNDS):
            other = klein.turn(posts, CREATED, seconds=SINGLE_SECONDS)
            row.add(bank.turn(posts, CREATED, seconds=SINGLE_SECONDS), other)
    return [row]


def bulk_posts(bench: Bench) -> Iterable[Row]:
    """Row 2."""
    row = Row(2, "events, 1,000 a POST", "executemany of 1,000", AtLeast(0.6), "/s", "an event")
    for _ in range(BULK_HALVES):
        _bulk_half(bench, row)
    return [row]


def _bulk_half(bench: Bench, row: Row) -> None:
    source = bench.databases.million
    target = database_in(bench.databases.empty())
    events_a_turn = BULK_REQUESTS * BULK_EVENTS
    with (
        bench.bank(bench.databases.empty()) as bank,
        bench.run(
            "benchmarks.raw_writer", bench.core, database_in(source), target, BULK_EVENTS
        ) as raw,
    ):
        assert raw.stdin is not None and raw.stdout is not None
        lists = bulks(0)
        for number in range(BULK_ROUNDS):
            turn = bulk_turn(bank, lists, BULK_REQUESTS)
            first = number * events_a_turn + 1
            free_memory()
            print(first, first + events_a_turn - 1, file=raw.stdin, flush=True)
            seconds, cpu = map(float, raw.stdout.readline().split())
            row.add(turn, Turn(events_a_turn / seconds, cpu / events_a_turn * 1e6))
        raw.stdin.close()


def stored(bench: Bench) -> Iterable[Row]:
    """Row 3."""
    row = Row(3, "events, 1 million stored", "100,000 stored", AtLeast(0.85), "/s", "an event")
    full, small = bench.databases.million_more(), bench.databases.hundred_thousand()
    with bench.bank(small) as other, bench.bank(full) as bank:
        lists, others = bulks(MILLION), bulks(HUNDRED_THOUSAND)
        for number in range(1 + ROUNDS):
            other_turn = bulk_turn(other, others, STORED_REQUESTS)
            turn = bulk_turn(bank, lists, STORED_REQUESTS)
            if number:  # the first ones are to get warm
                row.add(turn, other_turn)
    return [row]


def bulk_turn(server: Process, bulks: Iterator[bytes], count: int) -> Turn:
    """Post so many lists."""
    made = list(itertools.islice(bulks, count))
    free_memory()
    return server.turn(made, CREATED, BULK_CONNECTIONS, events=BULK_EVENTS)


def bulks(first: int) -> Iterator[bytes]:
    """Lists of events, as requests, without end; the events are those after the first ones."""
    source = (json for _, json in events(first))
    while True:
        yield post(b"[%b]" % b",".join(itertools.islice(source, BULK_EVENTS)))
