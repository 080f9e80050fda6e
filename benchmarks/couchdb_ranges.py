"""A range through KPIggyBank / the fastest exact way to read the same documents straight."""

from __future__ import annotations

import itertools
import re
import statistics
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import attrs
import msgspec

from benchmarks.answers import Asker, unchunked
from benchmarks.couchdb_bench import API, CREATED, Bench, Line, get, post
from benchmarks.couchdb_place import Place

EVENTS = 20_000
FILLED_AT_ONCE = 1000
ROUNDS = 4
#: A way that is so much slower than the fastest one is not looked at any further.
HOPELESS = 3.0

_BY_TIME = "/_design/kpiggybank/_view/by_time?reduce=false"
_LAST_SEQ = re.compile(rb'"last_seq":\s*"?([^"}\s]+)')


class _Row(msgspec.Struct):
    id: str
    value: Any = None
    doc: dict[str, Any] | None = None


class _Rows(msgspec.Struct):
    rows: list[_Row] = []
    results: list[_Row] = []


@attrs.frozen
class Way:
    """A way to read all documents from CouchDB.

    Attributes:
        name: for people.
        path: of the request, with a query.
        page: rows that are asked for at once; None for all.
    """

    name: str
    path: str
    page: int | None = None

    def __str__(self) -> str:
        return f"{self.name}, {self.page or 'all'} at once"

    async def read(self, asker: Asker, place: Place) -> tuple[float, list[bytes]]:
        """Read all: how long it took in seconds, and the answers."""
        answers: list[bytes] = []
        limit = "" if self.page is None else f"&limit={self.page}"
        after: str | None = ""
        started = time.perf_counter()
        while after is not None:
            answers.append(await asker.ask(place.request("GET", self.path + limit + after)))
            after = self._after(answers[-1])
        return time.perf_counter() - started, answers

    def _after(self, body: bytes) -> str | None:
        """Where the next page begins, found with as little work as possible."""
        feed = self.path.startswith("/_changes")
        if self.page is None or body.count(b'"changes":' if feed else b'"key":') < self.page:
            return None
        if feed:
            found = _LAST_SEQ.search(body, len(body) - 2000)
            assert found is not None
            return f"&since={quote(found[1])}"
        id = body[body.rindex(b'"id":"') + 6 :].partition(b'"')[0].decode()
        key = body[body.rindex(b'"key":') + 6 :]
        key = key[: key.index(b"]") + 1 if key[:1] == b"[" else key.index(b",")]
        return f"&startkey={quote(key)}&startkey_docid={id}&skip=1"


WAYS = [
    Way(name, path, page)
    for name, path in (
        ("_all_docs?include_docs", "/_all_docs?include_docs=true"),
        ("_changes?include_docs", "/_changes?include_docs=true"),
        ("by_time, its texts", _BY_TIME),
    )
    for page in (1000, 5000, None)
] + [Way("by_time, include_docs", f"{_BY_TIME}&include_docs=true")]


def _events_in(answers: Sequence[bytes]) -> dict[str, Any]:
    """The events in answers of CouchDB by their ids."""
    found: dict[str, Any] = {}
    for body in answers:
        rows = msgspec.json.decode(unchunked(body), type=_Rows)
        for row in rows.rows or rows.results:
            if row.id.startswith("_design/"):
                continue
            if row.doc is None:
                found[row.id] = msgspec.json.decode(row.value)
            else:
                # What KPIggyBank notes in a document is none of the event.
                fields = row.doc.items()
                found[row.id] = {k: v for k, v in fields if k[0] != "_" and k != "kpiggybank"}
    return found


async def _fill(bench: Bench, port: int) -> None:
    """Store the events, and have them indexed."""
    asker = await bench.asker(port)
    events = itertools.cycle(bench.events)
    for _ in range(EVENTS // FILLED_AT_ONCE):
        some = b",".join(itertools.islice(events, FILLED_AT_ONCE))
        await asker.ask(post(b"[%b]" % some), CREATED)
        await asker.ask(get(f"{API}?limit=1"))
    asker.transport.loseConnection()


async def _read_bank(bench: Bench, port: int) -> tuple[float, bytes]:
    """The seconds of a range of everything, and its body."""
    asker = await bench.asker(port)
    started = time.perf_counter()
    body = await asker.ask(get(f"{API}?format=rows"))
    seconds = time.perf_counter() - started
    asker.transport.loseConnection()
    return seconds, body


async def _read_straight(bench: Bench, way: Way) -> tuple[float, list[bytes]]:
    asker = await bench.asker()
    read = await way.read(asker, bench.place)
    asker.transport.loseConnection()
    return read


async def ranges(bench: Bench) -> tuple[Line, list[str]]:
    """The line of the table, and what was found out about each way, in words."""
    found: list[str] = []
    with bench.new_bank() as port:
        await _fill(bench, port)
        _, body = await _read_bank(bench, port)
        rows = msgspec.json.decode(unchunked(body), type=list[_Row])
        truth = {row.id: row.value for row in rows}
        if not len(truth) == len(rows) == EVENTS:
            raise RuntimeError(f"{len(rows)} rows")
        first: dict[Way, float] = {}
        for way in WAYS:
            seconds, answers = await _read_straight(bench, way)
            if _events_in(answers) == truth:
                first[way] = seconds
            else:
                found.append(f"{way}: not exact")
        fastest = min(first.values())
        lines = {
            way: Line(f"range / {way}", "/s", 0.7)
            for way, seconds in first.items()
            if seconds < HOPELESS * fastest
        }
        found += [
            f"{way}: {EVENTS / seconds:,.0f} rows a second, read once"
            for way, seconds in first.items()
            if way not in lines
        ]
        for _ in range(ROUNDS):
            bank, again = await _read_bank(bench, port)
            if len(unchunked(again)) != len(unchunked(body)):
                raise RuntimeError("a range is not the same again")
            for way, line in lines.items():
                seconds, _ = await _read_straight(bench, way)
                line.bank.append(EVENTS / bank)
                line.straight.append(EVENTS / seconds)
    best = sorted(lines, key=lambda way: -statistics.median(lines[way].straight))
    found = [
        f"{way}: {statistics.median(lines[way].straight):,.0f} rows a second" for way in best
    ] + found
    lines[best[0]].name = f"range of {EVENTS:,}"
    return lines[best[0]], found
