"""What strangers send does not make lines of its own in a log, nor anything that is no text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from zope.interface import provider

from kpiggybank.interfaces import StoreDamaged, StoreError, StoreFull, StoreUnavailable
from kpiggybank.web import answers
from kpiggybank.words import one_line
from tests.web_client import ROOT, Door, StagedStore

NASTY = "\n2026-01-01 all is well\r\x1b[2K\x00\x85\u2028\u2029\u202e\x7f\t"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The log as text, at every level; complaints are not held back."""
    monkeypatch.setattr(answers, "COMPLAINT_SECONDS", 0.0)
    texts: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.debug:
            texts.append(eventAsText(event, includeTimestamp=False))

    globalLogPublisher.addObserver(observe)
    yield texts
    globalLogPublisher.removeObserver(observe)


@pytest.mark.parametrize("error", [StoreDamaged, StoreFull, StoreUnavailable])
def test_what_stores_say(error: type[StoreError], said: list[str]) -> None:
    """The text of an error, which may quote what is stored, is one line in the log."""
    door = Door(StagedStore(error=error(f"event {NASTY} is bad")))
    assert door.get("?id=x").status >= 500
    (text,) = said
    assert "all is well" in text
    assert text.isprintable()


def test_requests(said: list[str]) -> None:
    """Paths, parameters, headers and bodies reach no log at all."""
    door = Door()
    path = quote(NASTY)
    for method in ("GET", "HEAD", "POST", "DELETE"):
        door.request(method, f"/{path}")
        door.request(method, f"{ROOT}?id={path}&where={path}:{path}")
    door.get(f"/stream?since={path}")
    door.post(json.dumps({"timestamp": NASTY, NASTY: 1}).encode())
    door.post(json.dumps({"timestamp": 1, NASTY: NASTY}).encode())
    assert said == []


@settings(deadline=None)
@given(st.text())
def test_one_line(text: str) -> None:
    """All that is no letter, mark or space is a space; the rest stays in its order."""
    line = one_line(text)
    assert line.isprintable()
    assert "".join(line.split()) == "".join(each for each in text if each.isprintable()).replace(
        " ", ""
    )
