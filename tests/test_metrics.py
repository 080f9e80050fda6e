"""The metrics: what Prometheus reads, and what the dashboard and the README make of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from kpiggybank.about import about
from kpiggybank.interfaces import (
    IEventBank,
    IHasDisk,
    IWritesInGroups,
    Space,
    StoreFull,
    StoreUnavailable,
)
from kpiggybank.metrics import CONTENT_TYPE, STORE_SECONDS, Metrics
from kpiggybank.tally import SIZES, Histogram
from kpiggybank.web.figures import FiguresApi
from kpiggybank.web.site import BankSite
from tests.web_client import ROOT, Door, StagedStore, result_of

HOUSE = Path(__file__).parent.parent
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@implementer(IEventBank, IHasDisk, IWritesInGroups)
class DiskStore(StagedStore):
    """A store that speaks of a disk and of groups."""

    answer: Deferred[Space] | None = None

    def space(self) -> Deferred[Space]:
        """The room, unless the test says otherwise."""
        if self.error is not None:
            return fail(self.error)
        return succeed(Space(10, 20)) if self.answer is None else self.answer

    def group_sizes(self) -> Histogram:
        """One write of three appends."""
        sizes = Histogram(SIZES)
        sizes.add(3)
        return sizes


class Scrape:
    """A bank with requests, and the metrics of both."""

    def __init__(self) -> None:
        self.store = DiskStore()
        self.door = Door(self.store)
        self.clock = Clock()
        site = self.door._treq._agent._serverFactory
        self.site = getattr(site, "wrappedFactory", site)
        self.metrics = Metrics(
            self.door.bank,
            self.site.journal,
            lambda: len(self.site.connections),
            about("", "abc"),
            self.clock,
        )

    def text(self) -> str:
        """What is rendered at once."""
        return result_of(Deferred.fromCoroutine(self.metrics.render())).decode()

    def samples(self) -> Samples:
        """All values by name and labels."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
        }


def labelled(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The key of a sample."""
    return f"kpiggybank_{name}", tuple(sorted(labels.items()))


def test_events_and_requests() -> None:
    """Events count by outcome, requests by route and class; no path of a client is a label."""
    scrape = Scrape()
    door = scrape.door
    door.save([{"timestamp": 1}, {"timestamp": 2}])
    scrape.store.error = StoreFull("no room")
    assert door.post(b'{"timestamp":1}').status == 507
    scrape.store.error = None
    door.get("/count/?start=1")
    door.request("GET", "/secret-place")
    door.request("BREW", "/wsapi/ping")
    samples = scrape.samples()
    assert samples[labelled("events_total", outcome="acknowledged")] == 2
    assert samples[labelled("events_total", outcome="full")] == 1
    post = {"method": "POST", "route": ROOT}
    assert samples[labelled("requests_total", **post, status="2xx")] == 1
    assert samples[labelled("requests_total", **post, status="5xx")] == 1
    assert samples[labelled("request_duration_seconds_count", **post)] == 2
    count = {"method": "GET", "route": f"{ROOT}/count", "status": "2xx"}
    assert samples[labelled("requests_total", **count)] == 1
    other = {"method": "GET", "route": "other", "status": "4xx"}
    assert samples[labelled("requests_total", **other)] == 1
    odd = {"method": "other", "route": "/wsapi/ping", "status": "4xx"}
    assert samples[labelled("requests_total", **odd)] == 1
    assert samples[labelled("append_duration_seconds_count")] == 2
    assert samples[labelled("write_appends_bucket", le="5.0")] == 1
    assert samples[labelled("waiting_appends")] == 0
    assert samples[labelled("store_events")] == 2
    assert samples[labelled("store_bytes")] == 10
    assert samples[labelled("store_free_bytes")] == 20
    assert "secret" not in scrape.text()


def test_followers() -> None:
    """Those who follow are counted while they do, and their end is that of a stream."""
    scrape = Scrape()
    stream = scrape.door.stream()
    scrape.door.save({"timestamp": 1})
    samples = scrape.samples()
    assert samples[labelled("followers")] == 1
    assert samples[labelled("deliveries_total")] == 1
    scrape.door.leave(stream)
    samples = scrape.samples()
    assert samples[labelled("followers")] == 0
    route = {"method": "GET", "route": f"{ROOT}/stream"}
    assert samples[labelled("requests_total", **route, status="cut")] == 1
    assert samples[labelled("request_duration_seconds_count", **route)] == 0


def test_store_that_does_not_answer() -> None:
    """Without the store, the rest is told all the same, and in time."""
    scrape = Scrape()
    scrape.store.error = StoreUnavailable("away")
    assert "kpiggybank_store_events" not in scrape.text()
    scrape.store.error, scrape.store.answer = None, Deferred()
    rendered = Deferred.fromCoroutine(scrape.metrics.render())
    assert not rendered.called
    scrape.clock.advance(STORE_SECONDS)
    text = result_of(rendered).decode()
    assert "kpiggybank_store_events 0.0" in text
    assert "kpiggybank_store_bytes" not in text


def test_door() -> None:
    """`GET /metrics` answers with the text, and nothing else is there."""
    scrape = Scrape()
    site: Any = BankSite(FiguresApi(scrape.metrics.render, CONTENT_TYPE).resource, Clock())
    connection, transport = site.buildProtocol(None), StringTransport()
    connection.makeConnection(transport)
    connection.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = transport.value().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert b"kpiggybank_build_info" in body
    transport.clear()
    connection.dataReceived(b"GET /wsapi/ping HTTP/1.1\r\nHost: x\r\n\r\n")
    assert transport.value().startswith(b"HTTP/1.1 404 ")
    connection.setTimeout(None)


def test_names_are_those_of_dashboard_and_readme() -> None:
    """The dashboard asks for nothing that is not there, and the README names all there is."""
    scrape = Scrape()
    scrape.door.save({"timestamp": 1})
    scrape.site.journal.stalled["x"] += 1
    samples = {name for name, _ in scrape.samples()}
    board = json.loads((HOUSE / "deploy" / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    names = set(re.findall(r"\b(?:kpiggybank|process)_\w+", " ".join(asked)))
    assert names and names <= samples
    section = (HOUSE / "README.md").read_text().partition("## Metrics")[2].partition("\n## ")[0]
    told = set(re.findall(r"`(kpiggybank_\w+)`", section))
    there = {
        re.sub("_(bucket|count|sum|created)$", "", name)
        for name in samples
        if name.startswith("kpiggybank_")
    }
    assert told == there
