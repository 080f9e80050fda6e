"""KPIggyBank on CouchDB / the same CouchDB asked straight: writes, bulk writes, ranges, delay.

The CouchDB is that of KPIGGYBANK_TEST_COUCHDB (http://user:password@host:port), else a
pouchdb-server that is started here, keeps all in memory, and is far slower than a CouchDB. Only the
database `bid_kpi_test` is used; it is deleted before and afterwards. What is compared:

1. Single form POSTs / a PUT for each event, over as many connections. KPIggyBank may be faster,
   since it writes what arrives together with one `_bulk_docs`.
2. Posts of 1,000 JSON events / `_bulk_docs` of 1,000 documents, over 1 and over 4 connections.
3. A range of 20,000 events / the fastest of all ways to read exactly the same from CouchDB, among
   them KPIggyBank's own view, whose values are the texts of the events. All is indexed before.
4. The time from sending a single event until its line is there: POST and KPIggyBank's stream /
   `_bulk_docs` of one document and `_changes?feed=continuous`, one event after the other.

The two sides take turns, so that a noisy machine disturbs both. Each turn of 1, 2 and 4 begins
with an empty database that a daemon has set up, so that CouchDB has the same views to keep on both
sides; while CouchDB is written to straight, no daemon runs, since one would listen to its feed. The
documents have ids of the same kind on both sides.

A pouchdb-server of ours has a core for itself on both sides, and the daemon shares another one with
the load: this is one small machine for all, and what the load takes from the daemon there counts
against KPIggyBank, never for it. With a given CouchDB, nothing is bound to a core.

Arguments are the numbers of what to measure; without any, all is measured. Every answer is checked.
The ratios count, the rates are not comparable between machines.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from twisted.internet.task import react

from benchmarks.answers import Asker, Feed
from benchmarks.couchdb_bench import API, CREATED, Bench, Line, documents, get, post
from benchmarks.couchdb_place import place_at_hand
from benchmarks.couchdb_ranges import ranges
from benchmarks.load import burst, load
from benchmarks.servers import requests
from kpiggybank.mint import Mint
from kpiggybank.sample import SignIns

SINGLE_CONNECTIONS = 64
SINGLE_SECONDS = 3.0
BULK_EVENTS = 1000
BULK_REQUESTS = 8
DELAYS = 25
ROUNDS = 4


async def single(bench: Bench) -> Line:
    """Single form POSTs / single PUTs."""
    line = Line(f"single writes, {SINGLE_CONNECTIONS} connections", "/s", 2)
    mint = Mint()

    def puts() -> Iterator[bytes]:
        for event in itertools.cycle(bench.events):
            yield bench.place.request("PUT", f"/{mint()}", event)

    for _ in range(ROUNDS):
        with bench.new_bank() as port:
            posts = itertools.cycle(requests())
            line.bank.append(
                await load(bench.reactor, port, posts, CREATED, SINGLE_CONNECTIONS, SINGLE_SECONDS)
            )
        bench.new_database()
        line.straight.append(
            await load(
                bench.reactor,
                bench.place.port,
                puts(),
                CREATED,
                SINGLE_CONNECTIONS,
                SINGLE_SECONDS,
                bench.place.host,
            )
        )
    return line


async def bulk(bench: Bench, connections: int) -> Line:
    """Bulk posts / `_bulk_docs`; a first round is only for JavaScript to get warm."""
    line = Line(f"bulks of {BULK_EVENTS:,}, on {connections}", "/s", 0.8)
    mint = Mint()
    events = list(itertools.islice(itertools.cycle(bench.events), BULK_EVENTS))
    posts = [post(b"[%b]" % b",".join(events))] * BULK_REQUESTS
    for _ in range(1 + ROUNDS):
        with bench.new_bank() as port:
            rate = await burst(bench.reactor, port, posts, CREATED, connections)
            line.bank.append(rate * BULK_EVENTS)
        bench.new_database()
        bulks = [
            bench.place.request("POST", "/_bulk_docs", documents(mint, events))
            for _ in range(BULK_REQUESTS)
        ]
        rate = await burst(
            bench.reactor, bench.place.port, bulks, CREATED, connections, bench.place.host
        )
        line.straight.append(rate * BULK_EVENTS)
    del line.bank[0], line.straight[0]
    return line


async def delay(bench: Bench) -> Line:
    """The time from a write until a follower has it."""
    line = Line("a follower's delay", "ms", 3, at_most=True, digits=1)
    mint = Mint()
    for _ in range(ROUNDS):
        with bench.new_bank() as port:
            feed = await bench.feed(get(f"{API}/stream"), port)
            asker = await bench.asker(port)
            times = []
            for event in bench.events[:DELAYS]:
                times.append(await one_delay(feed, asker, post(event), event))
            line.bank.append(statistics.median(times) * 1000)
            feed.transport.loseConnection()
            asker.transport.loseConnection()
        bench.new_database()
        path = "/_changes?feed=continuous&include_docs=true&since=now&heartbeat=10000"
        feed = await bench.feed(bench.place.request("GET", path))
        asker = await bench.asker()
        times = []
        for event in bench.events[:DELAYS]:
            body = documents(mint, [event])
            request = bench.place.request("POST", "/_bulk_docs", body)
            times.append(await one_delay(feed, asker, request, event))
        line.straight.append(statistics.median(times) * 1000)
        feed.transport.loseConnection()
        asker.transport.loseConnection()
    return line


async def one_delay(feed: Feed, asker: Asker, request: bytes, event: bytes) -> float:
    """Seconds from sending a request until its line is there; the answer is awaited as well."""
    started = time.perf_counter()
    answered = asker.ask(request, CREATED)
    line = await feed.line()
    seconds = time.perf_counter() - started
    answer = await answered
    doc = msgspec.json.decode(line)["doc"]
    told = {name: value for name, value in doc.items() if name[0] != "_"}
    if told != msgspec.json.decode(event) or b'"error":' in answer:
        raise RuntimeError(f"not what was sent: {answer!r} {line!r}")
    return seconds


async def main(reactor: Any, *rows: str) -> None:
    """Measure one after the other and print a table."""
    cores = sorted(os.sched_getaffinity(0))
    events = [msgspec.json.encode(event) for event in SignIns(seed=1).take(2000)]
    wanted = rows or ("1", "2", "3", "4")
    with place_at_hand(cores[0]) as place:
        core = cores[-1] if place.pid else None
        if core is not None:
            os.sched_setaffinity(0, {core})
        bench = Bench(reactor, place, core, events)
        print("of CouchDB's kind:", place.says())
        print(f"{'':<30} {'KPIggyBank':>11} {'CouchDB':>11} ratio  spread        goal      met")
        if "1" in wanted:
            print(await single(bench), flush=True)
        if "2" in wanted:
            print(await bulk(bench, 1), flush=True)
            print(await bulk(bench, 4), flush=True)
        ways: list[str] = []
        if "3" in wanted:
            line, ways = await ranges(bench)
            print(line, flush=True)
        if "4" in wanted:
            print(await delay(bench), flush=True)
    if ways:
        print("\nways to read it straight, the range being compared to the first:")
        print("\n".join(ways))


if __name__ == "__main__":
    react(main, sys.argv[1:])
