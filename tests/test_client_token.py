"""The client at a real site that wants tokens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from kpiggybank.client import KPIggyBank, RequestFailed
from kpiggybank.tokens import Tokens
from kpiggybank.web.access import Access
from tests.client_stage import EVENT, failure_of, success_of
from tests.web_client import Door

WRITE, READ = "wr1te", "r3ad+/="


def digest(token: str) -> tuple[bytes]:
    """What a server keeps of it."""
    return (sha256(token.encode()).digest(),)


@attrs.define(eq=False)
class Guard:
    """A site that takes a token for each kind of access, and clients of it."""

    door: Door = attrs.field(
        factory=lambda: Door(access=Access(Tokens(digest(WRITE), digest(READ))))
    )
    clients: list[KPIggyBank] = attrs.field(factory=list)

    def client(self, token: str | None) -> KPIggyBank:
        """One that shows this token."""
        clock, treq = self.door.clock, self.door._treq
        self.clients.append(KPIggyBank("127.0.0.1", 3000, token=token, treq=treq, reactor=clock))
        return self.clients[-1]

    def done(self, call: Deferred[Any]) -> Any:
        """The result of a call."""
        self.door.flush()
        return success_of(call)

    def refused(self, call: Deferred[Any]) -> int:
        """The status with which a call was refused."""
        self.door.flush()
        return failure_of(call, RequestFailed).status

    def cut(self) -> None:
        """Cut all connections, as a network does."""
        site = self.door._treq._agent._serverFactory
        for connection in tuple(site.connections):
            connection.transport.loseConnection()
        self.door.flush()


@pytest.fixture
def guard() -> Iterator[Guard]:
    """A guarded site, whose clients are closed after the test."""
    guard = Guard()
    yield guard
    for client in guard.clients:
        success_of(client.close())
    guard.door.flush()


def test_each_call(guard: Guard) -> None:
    """The token goes with every call, and the server says which it may make."""
    writer, reader = guard.client(WRITE), guard.client(READ)
    assert len(guard.done(writer.saveData(EVENT))) == 1
    assert guard.done(reader.fetchRange()) == [EVENT]
    assert guard.done(reader.count()) == 1
    assert guard.refused(reader.saveData(EVENT)) == 401
    assert guard.refused(writer.fetchRange()) == 401
    assert guard.refused(writer.followChanges()) == 401
    assert guard.refused(guard.client(None).count()) == 401


def test_stream_that_is_lost(guard: Guard) -> None:
    """A stream shows the token again when it comes back."""
    reader, told = guard.client(READ), list[str]()

    def note(name: str, what: object) -> None:
        told.append(name)

    for name in ("change", "connected", "disconnected", "error"):
        reader.on(name, partial(note, name))
    guard.done(reader.followChanges())
    guard.cut()
    guard.done(guard.client(WRITE).saveData(EVENT))
    guard.door.clock.advance(1)
    guard.door.flush()
    assert told == ["connected", "disconnected", "connected", "change"]


def test_token_is_not_told(guard: Guard) -> None:
    """Neither the client nor its errors show it."""
    client = guard.client("s3cret")
    call = client.count()
    guard.door.flush()
    error = failure_of(call, RequestFailed)
    assert "s3cret" not in f"{client!r} {error!r} {error}"


@pytest.mark.parametrize("token", ["", "s3cret s3cret", "s3cret\r\nX: y", "schlüssel"])
def test_what_is_no_token(token: str) -> None:
    """What no header can carry is refused at once, and not told."""
    with pytest.raises(ValueError, match="a token is") as caught:
        KPIggyBank("127.0.0.1", token=token)
    assert "s3cret" not in str(caught.value)
