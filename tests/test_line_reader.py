"""How endless answers are read: no faster than somebody takes what they say."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from kpiggybank.outgoing.reader import BYTES_WAITING, LineReader
from tests.client_stage import failure_of, success_of


class Lost(Exception):
    """Nothing more comes."""


class Garbled(Exception):
    """What came makes no sense."""


@pytest.fixture
def clock() -> Clock:
    """The time of a reader."""
    return Clock()


@pytest.fixture
def wire() -> Any:
    """The connection of a reader."""
    return cast(Any, StringTransport)()


@pytest.fixture
def reader(clock: Clock, wire: Any) -> LineReader[int]:
    """A reader of numbers, for which a zero is nothing."""
    reader = LineReader(clock, 10, lambda text: int(text) or None, Lost, Garbled)
    cast(Any, reader).makeConnection(wire)
    return reader


def test_take_what_has_come(reader: LineReader[int]) -> None:
    """All that has come is taken together; who comes too early waits."""
    reader.dataReceived(b"1\r\n\r\n0\n2\n3")
    assert success_of(reader.take()) == [1, 2]
    waiting = reader.take()
    reader.dataReceived(b"\r\n\n0\n")
    assert success_of(waiting) == [3]
    reader.close()


def test_take_is_cancelled(reader: LineReader[int]) -> None:
    """To give up waiting loses nothing."""
    waiting = reader.take()
    waiting.cancel()
    failure_of(waiting, CancelledError)
    reader.dataReceived(b"1\n")
    assert success_of(reader.take()) == [1]
    reader.close()


def test_reading_pauses(reader: LineReader[int], wire: Any) -> None:
    """Beyond the bound the other side has to wait, until somebody takes what has come."""
    reader.dataReceived(b"1\n" * (BYTES_WAITING // 2))
    assert wire.producerState == "producing"
    reader.dataReceived(b"2\n")
    assert wire.producerState == "paused"
    assert success_of(reader.take())[-1] == 2
    assert wire.producerState == "producing"
    reader.close()


def test_reading_pauses_again(reader: LineReader[int], wire: Any) -> None:
    """Whoever resumes the connection in between, as twisted.web does, is put right."""
    reader.dataReceived(b"1\n" * BYTES_WAITING)
    wire.resumeProducing()
    reader.dataReceived(b"2\n")
    assert wire.producerState == "paused"
    reader.close()


def test_long_line_does_not_pause(reader: LineReader[int], wire: Any) -> None:
    """A line that is longer than the bound comes through: there is nothing to take before."""
    reader.dataReceived(b" " * BYTES_WAITING)
    reader.dataReceived(b" " * BYTES_WAITING)
    assert wire.producerState == "producing"
    reader.dataReceived(b"7\n")
    assert success_of(reader.take()) == [7]
    reader.close()


def test_silence_is_not_counted_in_a_pause(reader: LineReader[int], clock: Clock) -> None:
    """A server that we make wait is not silent; afterwards it has its full time again."""
    reader.dataReceived(b"1\n" * BYTES_WAITING)
    clock.advance(1000)
    success_of(reader.take())
    clock.advance(9)
    reader.dataReceived(b"2\n")
    clock.advance(9)
    assert success_of(reader.take()) == [2]
    clock.advance(1)
    assert "nothing came for 10 seconds" in str(failure_of(reader.take(), Lost))


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (ResponseDone(), "the server ended the stream without a farewell"),
        (Exception(), "the connection was cut"),
    ],
)
def test_end_comes_last(reader: LineReader[int], reason: Exception, text: str) -> None:
    """What came before the end may be taken after it; then the end is told, again and again."""
    reader.dataReceived(b"1\n")
    reader.connectionLost(Failure(reason))
    assert success_of(reader.take()) == [1]
    for _ in range(2):
        assert str(failure_of(reader.take(), Lost)) == text


def test_garbage_comes_last(reader: LineReader[int], wire: Any) -> None:
    """What does not make sense ends the reading for a reason of its own, and cuts."""
    waiting = reader.take()
    reader.dataReceived(b"1\nx\n2\n")
    assert success_of(waiting) == [1]
    failure_of(reader.take(), Garbled)
    assert wire.disconnecting


def test_nothing_after_the_end(reader: LineReader[int], wire: Any, clock: Clock) -> None:
    """A reader that was closed cuts the connection and hears nothing more."""
    reader.close()
    reader.close()
    reader.dataReceived(b"1\n")
    reader.connectionLost(Failure(Exception()))
    assert str(failure_of(reader.take(), Lost)) == "it was closed"
    assert (wire.disconnecting, clock.getDelayedCalls()) == (True, [])
