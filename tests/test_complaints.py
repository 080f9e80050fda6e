"""What the log says of an outage: enough, and not a line a request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import provider

from kpiggybank.web.answers import COMPLAINT_SECONDS, Complaints


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The lines of the log."""
    lines: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def test_outage_is_told_now_and_then(said: list[str]) -> None:
    """The first refusal is told at once, those that follow are counted, and told together."""
    clock = Clock()
    complaints = Complaints(clock.seconds)
    for _ in range(500):
        complaints.add("no disk")
    assert said == ["the store is unavailable: no disk (refused since the last line: 1)"]
    clock.advance(COMPLAINT_SECONDS)
    complaints.add("no net")
    assert said[1:] == ["the store is unavailable: no net (refused since the last line: 500)"]
