"""The client's stream over real connections: cut, slow, left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred

from kpiggybank.client import KPIggyBank, StreamEnded
from tests.client_stage import LINE, line
from tests.client_street import CHUNKED, Flood, Recital, Series, Street, chunk, pause

CHANGE_BYTES = 16 * 2**10
CHANGES = 2000


@pytest_twisted.ensureDeferred
async def test_cut_in_a_chunk(street: Street) -> None:
    """A stream cut in the middle of a chunk goes on behind its last whole line."""
    first = CHUNKED + chunk(line("1"), line("2"), LINE)[: -len(LINE)]
    server = Series(first, CHUNKED + chunk(line("3")))
    street.open(server)
    api = street.client()
    changes: list[str] = []
    lost: list[StreamEnded] = []
    third: Deferred[None] = Deferred()

    def note(change: Any) -> None:
        changes.append(change["seq"])
        if len(changes) == 3:
            third.callback(None)

    api.on("change", note)
    api.on("disconnected", lost.append)
    await api.followChanges()
    await third
    assert (changes, [str(each) for each in lost]) == (
        ["1", "2", "3"],
        ["the connection was cut (cursor 2)"],
    )
    assert [b"since=2&heartbeat=15" in heard for heard in server.heard] == [False, True]


@pytest_twisted.ensureDeferred
async def test_server_of_another_kind_in_between(street: Street) -> None:
    """What speaks no HTTP, or hangs up, is no server: the client asks on until one is there."""
    server = Series(CHUNKED + chunk(line("1")), b"", b"220 hello\r\n", CHUNKED + chunk(line("2")))
    street.open(server)
    seen = []
    async for change in street.client().changes():
        seen.append(change["seq"])
        if len(seen) == 2:
            break
    assert (seen, len(server.heard)) == (["1", "2"], 4)


@pytest_twisted.ensureDeferred
async def test_slow_callback_stops_the_server(street: Street) -> None:
    """While a callback is slow, the server can send no more than some buffers; then all comes."""
    server = Recital(CHUNKED)
    street.open(server)
    api = street.client()
    slow: Deferred[None] = Deferred()
    last: Deferred[None] = Deferred()
    seen: list[str] = []

    def note(change: Any) -> Deferred[None] | None:
        seen.append(change["seq"])
        if len(seen) == CHANGES:
            last.callback(None)
        return slow if len(seen) == 1 else None

    api.on("change", note)
    await api.followChanges()
    assert server.spoken is not None
    text = "x" * CHANGE_BYTES
    pieces = (chunk(line(str(number), text=text)) for number in range(CHANGES))
    flood = Flood(server.spoken.transport, pieces)
    flood.start()
    await flood.stuck()
    assert len(seen) == 1
    assert flood.said < CHANGES
    slow.callback(None)
    await last
    assert seen == [str(number) for number in range(CHANGES)]


async def _break(api: KPIggyBank) -> None:
    async for _ in api.changes():
        break


async def _raise(api: KPIggyBank) -> None:
    with pytest.raises(KeyError):
        async for change in api.changes():
            raise KeyError(change["seq"])


async def _cancel(api: KPIggyBank) -> None:
    waiting: Deferred[None] = Deferred()

    async def loop() -> None:
        async for _ in api.changes():
            waiting.callback(None)

    looping = Deferred.fromCoroutine(loop())
    await waiting
    await pause()  # a coroutine that runs cannot be cancelled
    looping.cancel()
    with pytest.raises(CancelledError):
        await looping


@pytest.mark.parametrize("leave", [_break, _raise, _cancel])
@pytest_twisted.ensureDeferred
async def test_leaving_a_loop(street: Street, leave: Callable[[KPIggyBank], Any]) -> None:
    """However a loop is left, its connection is cut, and nothing else of the client."""
    door = street.open(Recital(CHUNKED + chunk(LINE)))
    api = street.client()
    await leave(api)
    await door.when_empty()


@pytest_twisted.ensureDeferred
async def test_close_with_an_open_stream(street: Street) -> None:
    """Closing cuts the stream, tells nothing, and leaves no connection."""
    server = Recital(CHUNKED + b"2\r\n\r\n\r\n")
    door = street.open(server)
    api = street.client()
    errors: list[Any] = []
    api.on("error", errors.append)
    await api.followChanges()
    await api.close()
    await door.when_empty()
    assert errors == []
