"""What every test is held to: no error goes unheard, and nothing is left in the reactor."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import provider

#: Where further fixtures are.
pytest_plugins = [
    "tests.client_stage",
    "tests.client_street",
    "tests.couchdb_servers",
    "tests.integration.browser",
    "tests.integration.systemd",
    "tests.scripted_couchdb",
]

reactor: Any = _reactor  # to mypy, it is a module


def pytest_collection_finish() -> None:
    """Keep what is there by now out of the collections after each test: they are for its own."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logged_errors() -> Iterator[list[LogEvent]]:
    """Fail a test after which an error was logged or a failure had no listener.

    pytest-twisted lets both pass where trial would not. A test that wants an error to be logged
    takes this fixture, looks at what is in it, and clears it.
    """
    errors: list[LogEvent] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.error:
            errors.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield errors
        # Deferreds tell of a failure that nobody took when they are collected.
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not errors, "\n".join(map(_text, errors))


def _text(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return str(failure.getTraceback()) if failure is not None else formatEvent(event)


@pytest.fixture
def warned() -> Iterator[list[str]]:
    """What is logged as a warning."""
    heard: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] is LogLevel.warn:
            heard.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield heard
    globalLogPublisher.removeObserver(observe)


@pytest.fixture(autouse=True)
def quiet_reactor() -> Iterator[None]:
    """Fail a test that leaves delayed calls or sockets behind."""
    _turn()  # the very first one brings the reactor's own sockets
    before = list(reactor.getReaders())
    yield
    # A connection that was just closed needs a turn or two to be gone.
    for _ in range(3):
        _turn()
    calls = [call for call in reactor.getDelayedCalls() if call.active()]
    for call in calls:
        call.cancel()
    left = [reader for reader in reactor.getReaders() if reader not in before]
    assert not calls and not left, f"left behind: {calls} {left}"


def _turn() -> None:
    pytest_twisted.blockon(deferLater(reactor, 0))
