"""What systemd is told of the daemon: that it is ready, how it is, and that it stops."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from kpiggybank.interfaces import StoreError

#: After so many seconds it is said again that the daemon is ready, where there was no room for it.
AGAIN_SECONDS = 0.5


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """How long systemd waits for a sign of life; None where it waits for none of this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdecimal() and int(text) > 0 else None


@attrs.define(eq=False)
class Notifier:
    """Tells whoever started the daemon, by `sd_notify(3)`; where nobody listens, it tells nobody.

    A message that cannot be sent at once is not sent: it never waits.

    Args:
        clock: for the signs of life.
        place: the address of a datagram socket; of an abstract one, it begins with a NUL. Empty
            where nobody is to be told.
        watchdog: seconds after the last sign of life when the daemon is taken for dead, or None.
    """

    _clock: IReactorTime
    _place: str = ""
    _watchdog: float | None = None
    _again: Any = attrs.field(default=None, init=False)
    _life: LoopingCall | None = attrs.field(default=None, init=False)
    _well: str = attrs.field(default="", init=False)
    _stopping: bool = attrs.field(default=False, init=False)

    _log = Logger()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], clock: IReactorTime) -> Notifier:
        """A notifier as NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID say."""
        place = environ.get("NOTIFY_SOCKET", "")
        if not place.startswith(("/", "@")):  # nothing, or a kind of socket that we don't speak
            return cls(clock)
        if place.startswith("@"):
            place = f"\0{place[1:]}"
        return cls(clock, place, _watchdog_seconds(environ))

    def status(self, text: str) -> None:
        """Say in a line what the daemon does."""
        self._send(_status(text))

    def ready(self, text: str, ask: Callable[[], Deferred[Any]]) -> None:
        """Say that the daemon serves, and begin with the signs of life.

        Args:
            text: what it does, in a line.
            ask: makes a round trip to the store. There is no sign of life before it is back, be it
                with an answer or with the word that the store cannot work now: a store that is away
                does not come back by a restart of ours, but one that hangs may.
        """
        self._well = text
        self._say_ready()
        if self._place and self._watchdog is not None:
            self._life = LoopingCall(self._live, ask)
            self._life.clock = self._clock
            self._life.start(self._watchdog / 2).addErrback(
                lambda failure: self._log.failure("there will be no sign of life", failure)
            )

    def stopping(self, text: str = "answers the last requests") -> None:
        """Say that the daemon stops, and why; only the first one is said.

        There are no signs of life any more.
        """
        if self._stopping:
            return
        self._stopping = True
        if self._again is not None:
            self._again.cancel()
        if self._life is not None and self._life.running:
            self._life.stop()
        self._send(f"STOPPING=1\n{_status(text)}")

    def _say_ready(self) -> None:
        self._again = None
        if not self._send(f"READY=1\n{_status(self._well)}"):
            self._again = self._clock.callLater(AGAIN_SECONDS, self._say_ready)

    async def _live(self, ask: Callable[[], Deferred[Any]]) -> None:
        status = self._well
        try:
            await ask()
        except StoreError as error:
            status = str(error)
        if not self._stopping:  # it may stop while the store is asked
            self._send(f"WATCHDOG=1\n{_status(status)}")

    def _send(self, text: str) -> bool:
        """Send a message; tells whether that is done with, and another try of no use."""
        if not self._place:
            return True
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            with socket.socket(socket.AF_UNIX, kind) as way:
                way.sendto(text.encode(errors="replace"), self._place)
        except BlockingIOError:
            return False
        except OSError as error:
            self._log.warn("systemd cannot be told: {error}", error=error)
        return True


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"
