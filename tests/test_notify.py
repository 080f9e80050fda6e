"""What systemd hears: through a real datagram socket, at times that a clock of ours tells."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.notify import AGAIN_SECONDS, Notifier

#: What systemd gives, and half of it.
WATCHDOG = {"WATCHDOG_USEC": "20000000"}
INTERVAL = 10.0

READY = "READY=1\nSTATUS=serves"
ALIVE = "WATCHDOG=1\nSTATUS=serves"
STOPPING = "STOPPING=1\nSTATUS=answers the last requests"


@attrs.define(eq=False)
class Ear:
    """Stands for systemd: a socket to which messages are sent."""

    socket: socket.socket
    place: str

    def heard(self) -> list[str]:
        """What was said since the last time."""
        texts = []
        while True:
            try:
                texts.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return texts


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest) -> Iterator[Ear]:
    """A socket with a name in the file system, and one without."""
    with (
        tempfile.TemporaryDirectory(prefix="kpi-", dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own,
    ):
        own.setblocking(False)
        if request.param == "path":
            place = str(Path(folder) / "notify")
            own.bind(place)
        else:
            own.bind("")  # Linux makes up a name
            place = f"@{own.getsockname()[1:].decode()}"
        yield Ear(own, place)


@attrs.define(eq=False)
class Store:
    """A store that answers when it is told to."""

    asked: list[Deferred[Any]] = attrs.field(factory=list)

    def ask(self) -> Deferred[Any]:
        """Make a round trip."""
        self.asked.append(Deferred())
        return self.asked[-1]

    def answers(self) -> None:
        """Answer what was asked last."""
        self.asked[-1].callback(None)


def notifier(ear: Ear, clock: Clock, **environ: str) -> Notifier:
    """A notifier to that socket."""
    return Notifier.from_environ({"NOTIFY_SOCKET": ear.place, **environ}, clock)


def ask() -> Deferred[Any]:
    """A round trip to a store that works."""
    return succeed(None)


def test_a_life(ear: Ear) -> None:
    """It opens, is ready, and stops, each said once; without a watchdog there is no more."""
    clock = Clock()
    tells = notifier(ear, clock)
    tells.status("opens\nthe store")
    tells.ready("serves", ask)
    clock.advance(1000)
    assert ear.heard() == ["STATUS=opens the store", READY]
    tells.stopping()
    tells.stopping("in vain")
    assert ear.heard() == [STOPPING]
    assert clock.getDelayedCalls() == []


def test_why_it_stops(ear: Ear) -> None:
    """The reason of a stop is told, whatever bytes it has."""
    notifier(ear, Clock()).stopping("cannot open /\udcff")
    assert ear.heard() == ["STOPPING=1\nSTATUS=cannot open /?"]


def test_watchdog(ear: Ear) -> None:
    """A sign of life at once, then twice in the time that systemd waits, until it stops."""
    clock = Clock()
    tells = notifier(ear, clock, **WATCHDOG, WATCHDOG_PID=str(os.getpid()))
    tells.ready("serves", ask)
    assert ear.heard() == [READY, ALIVE]
    clock.advance(INTERVAL - 0.1)
    assert ear.heard() == []
    clock.advance(0.1)
    assert ear.heard() == [ALIVE]
    clock.pump([INTERVAL] * 3)
    assert ear.heard() == [ALIVE] * 3
    tells.stopping()
    clock.pump([INTERVAL] * 3)
    assert ear.heard() == [STOPPING]
    assert clock.getDelayedCalls() == []


def test_store_that_hangs(ear: Ear) -> None:
    """Without an answer of the store there is no sign of life; it is asked once, and waited for."""
    clock, store = Clock(), Store()
    notifier(ear, clock, **WATCHDOG).ready("serves", store.ask)
    clock.pump([INTERVAL] * 5)
    assert ear.heard() == [READY]
    assert len(store.asked) == 1
    store.answers()
    assert ear.heard() == [ALIVE]
    clock.advance(INTERVAL)
    assert len(store.asked) == 2
    assert ear.heard() == []


def test_store_that_is_away(ear: Ear) -> None:
    """A store that says that it cannot work now has answered: a restart would not help it."""
    clock = Clock()
    answers = [succeed(None), fail(StoreUnavailable("CouchDB\nis away")), succeed(None)]
    notifier(ear, clock, **WATCHDOG).ready("serves", lambda: answers.pop(0))
    clock.pump([INTERVAL] * 2)
    assert ear.heard() == [READY, ALIVE, "WATCHDOG=1\nSTATUS=CouchDB is away", ALIVE]


def test_what_nobody_expects(ear: Ear, logged_errors: list[LogEvent]) -> None:
    """After an error that no store may have, there are no signs of life: a restart may help."""
    clock = Clock()
    notifier(ear, clock, **WATCHDOG).ready("serves", lambda: fail(ZeroDivisionError()))
    clock.pump([INTERVAL] * 3)
    assert ear.heard() == [READY]
    assert len(logged_errors) == 1
    logged_errors.clear()


def test_answer_after_the_stop(ear: Ear) -> None:
    """What the store answers after the stop has begun is no sign of life."""
    clock, store = Clock(), Store()
    tells = notifier(ear, clock, **WATCHDOG)
    tells.ready("serves", store.ask)
    tells.stopping()
    store.answers()
    clock.advance(INTERVAL)
    assert ear.heard() == [READY, STOPPING]
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "environ",
    [
        {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": ""},
    ],
)
def test_no_watchdog_of_ours(ear: Ear, environ: dict[str, str]) -> None:
    """A watchdog for another process, or none at all, gets nothing."""
    clock = Clock()
    notifier(ear, clock, **environ).ready("serves", ask)
    clock.advance(1000)
    assert ear.heard() == [READY]


@pytest.mark.parametrize("place", [None, "", "vsock:2:1234", "notify"])
def test_nobody_listens(place: str | None) -> None:
    """Without a socket, or with one of another kind, nothing is said and nothing goes on."""
    clock = Clock()
    tells = Notifier.from_environ(
        {"NOTIFY_SOCKET": place, **WATCHDOG} if place else WATCHDOG, clock
    )
    tells.status("opens")
    tells.ready("serves", lambda: fail(AssertionError("not to be asked")))
    tells.stopping()
    assert clock.getDelayedCalls() == []


def test_socket_that_is_gone(ear: Ear) -> None:
    """When nobody listens any more, the daemon goes on all the same."""
    clock = Clock()
    tells = notifier(ear, clock, **WATCHDOG)
    ear.socket.close()
    tells.ready("serves", ask)
    clock.pump([INTERVAL] * 3)
    tells.stopping()
    assert clock.getDelayedCalls() == []


def fill(ear: Ear) -> None:
    """Leave no room for another message."""
    place = ear.place.replace("@", "\0")
    with pytest.raises(BlockingIOError):
        while True:  # a sender may have its own limit, too: each message has another
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(b"", place)


def test_nothing_waits(ear: Ear) -> None:
    """While there is no room, nothing waits; that it is ready is said again until it is heard."""
    clock = Clock()
    tells = notifier(ear, clock)
    fill(ear)
    tells.status("is not heard")
    tells.ready("serves", ask)
    clock.advance(AGAIN_SECONDS)
    assert set(ear.heard()) == {""}
    clock.advance(AGAIN_SECONDS)
    assert ear.heard() == [READY]
    assert clock.getDelayedCalls() == []


def test_stop_before_it_was_heard(ear: Ear) -> None:
    """A daemon that stops is not ready any more."""
    clock = Clock()
    tells = notifier(ear, clock)
    fill(ear)
    tells.ready("serves", ask)
    ear.heard()
    tells.stopping()
    clock.advance(AGAIN_SECONDS)
    assert ear.heard() == [STOPPING]
    assert clock.getDelayedCalls() == []
