"""The figures of a running KPIggyBank, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any, Protocol

import attrs
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from kpiggybank.about import About
from kpiggybank.bank import OUTCOMES, Bank
from kpiggybank.events import Range
from kpiggybank.interfaces import StoreError
from kpiggybank.tally import Histogram

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4.encode()

#: Seconds that the store has to tell its size; without it, the other figures are told.
STORE_SECONDS = 3.0


class RouteFigures(Protocol):
    """See `kpiggybank.web.journal.Requests`."""

    @property
    def outcomes(self) -> dict[str, int]:
        """How many requests had which outcome."""

    @property
    def durations(self) -> Histogram:
        """How long whole answers took."""


class Journal(Protocol):
    """See `kpiggybank.web.journal.Journal`."""

    @property
    def requests(self) -> Any:
        """`RouteFigures` by method and route."""

    @property
    def stalled(self) -> dict[str, int]:
        """How many readers were cut off, by route."""


@attrs.define(eq=False)
class Metrics:
    """All families, collected when they are asked for: nothing is kept here but the size.

    The registry is its own, so that a process may have many of them.

    Args:
        bank: the bank.
        journal: the requests of its site.
        connections: how many are open.
        about: what runs here.
        clock: for the patience with the store.
    """

    _bank: Bank
    _journal: Journal
    _connections: Callable[[], int]
    _about: About
    _clock: IReactorTime
    _registry: CollectorRegistry = attrs.field(factory=CollectorRegistry, init=False)
    _size: list[Metric] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(self)

    async def render(self) -> bytes:
        """Everything as text, of the type `CONTENT_TYPE`."""
        count, space = self._bank.count(Range()), self._bank.space()
        number = await self._patiently(Deferred.fromCoroutine(count))
        room = await self._patiently(space)
        size = []
        if number is not None:
            size.append(_gauge("store_events", "Events that the store has.", number))
        if room is not None:
            size += [
                _gauge("store_bytes", "Bytes of the store's files.", room.used),
                _gauge("store_free_bytes", "Bytes that are free on the store's disk.", room.free),
            ]
        self._size = size
        return generate_latest(self._registry)

    async def _patiently(self, asked: Deferred[Any]) -> Any:
        try:
            return await asked.addTimeout(STORE_SECONDS, self._clock)
        except (StoreError, TimeoutError):
            return None

    def collect(self) -> Iterable[Metric]:
        """What the registry asks for."""
        yield InfoMetricFamily(
            "kpiggybank_build", "What runs here.", {"version": self._about.version}
        )
        yield from self._of_requests()
        yield from self._of_store()
        bank = self._bank
        yield _gauge("followers", "Streams that are followed now.", bank.followers)
        yield _counter("deliveries", "Changes told to followers.", bank.deliveries)
        yield _gauge("connections", "Connections that are open now.", self._connections())

    def _of_requests(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "kpiggybank_requests",
            "Requests that have ended, by the class of their answer's status.",
            labels=("method", "route", "status"),
        )
        durations = HistogramMetricFamily(
            "kpiggybank_request_duration_seconds",
            "From the last byte of a request to the end of its answer; without streams.",
            labels=("method", "route"),
        )
        for (method, route), figures in self._journal.requests.items():
            labels = (method.decode(), route)
            for outcome, number in figures.outcomes.items():
                requests.add_metric((*labels, outcome), number)
            _put(durations, labels, figures.durations)
        cut = CounterMetricFamily(
            "kpiggybank_slow_readers_cut",
            "Readers of streams and ranges that took nothing and were cut off.",
            labels=("route",),
        )
        for route, number in self._journal.stalled.items():
            cut.add_metric((route,), number)
        yield from (requests, durations, cut)

    def _of_store(self) -> Iterable[Metric]:
        appends = self._bank.appends
        events = CounterMetricFamily(
            "kpiggybank_events",
            "Events given to the store, by what has become of them.",
            labels=("outcome",),
        )
        for outcome in OUTCOMES:
            events.add_metric((outcome,), appends.events[outcome])
        took = HistogramMetricFamily(
            "kpiggybank_append_duration_seconds", "From a deposit to the store's answer."
        )
        _put(took, (), appends.durations)
        yield from (events, took)
        yield _gauge("waiting_appends", "Appends that the store has not answered.", appends.waiting)
        yield _gauge(
            "oldest_append_age_seconds", "How long the oldest of these has waited.", appends.oldest
        )
        sizes = self._bank.group_sizes()
        if sizes is not None:
            groups = HistogramMetricFamily(
                "kpiggybank_write_appends", "Appends that went to the store in one write."
            )
            _put(groups, (), sizes)
            yield groups
        yield from self._size


def _gauge(name: str, doc: str, value: float) -> Metric:
    return GaugeMetricFamily(f"kpiggybank_{name}", doc, value)


def _counter(name: str, doc: str, value: float) -> Metric:
    return CounterMetricFamily(f"kpiggybank_{name}", doc, value)


def _put(family: HistogramMetricFamily, labels: tuple[str, ...], histogram: Histogram) -> None:
    bounds = [*map(str, map(float, histogram.bounds)), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    family.add_metric(labels, buckets, histogram.total)
