"""The real daemon in a process of its own, and bare connections to talk to it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import ProcessProtocol, Protocol, connectionDone
from twisted.python.failure import Failure

reactor: Any = _reactor  # to mypy, it is a module

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = Path(sys.executable).parent

TWISTD = (str(COMMANDS / "twistd"), "-n", "--pidfile=")
TWIST = (str(COMMANDS / "twist"), "--log-format=text")

#: For every wait here, however busy the machine is.
DEADLINE_SECONDS = 30.0

#: The endpoint that takes the first socket of those handed over.
ADOPTED = "systemd:domain=INET:index=0"

EVENTS = "/wsapi/interaction_data"

#: The settings of a developer's shell, which would reach the daemon.
_OWN_SETTINGS = re.compile(
    r"DB_.*|MAX_.*|.*_TIMEOUT|HOST|PORT|LISTEN|MODE|LOG_FORMAT|ACCESS_LOG|METRICS|SOURCE_.*"
    r"|DATA_DIR|STATE_DIRECTORY|NOTIFY_SOCKET|WATCHDOG_.*|PYTHON.*|VIRTUAL_ENV"
    r"|(WRITE|READ)_TOKEN(_FILE)?|ALLOW_ANONYMOUS|CORS_.*|ALLOWED_HOSTS"
)


@attrs.define(eq=False)
class Pulse:
    """Lets coroutines wait for a condition, which is looked at again at each beat."""

    _waiting: list[Deferred[None]] = attrs.field(factory=list)

    def beat(self) -> None:
        """Say that something has happened."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    async def until(self, seek: Callable[[], T | None], explain: Callable[[], str]) -> T:
        """What `seek` gives once that is not None; when it takes too long, fails with a text."""
        deadline = reactor.seconds() + DEADLINE_SECONDS
        while (found := seek()) is None:
            beat: Deferred[None] = Deferred()
            self._waiting.append(beat)
            try:
                await beat.addTimeout(max(0, deadline - reactor.seconds()), reactor)
            except TimeoutError:
                self._waiting.remove(beat)
                raise AssertionError(f"not in time: {explain()}") from None
        return found


@attrs.define(eq=False)
class Daemon(ProcessProtocol):
    """A daemon with its folder; `async with` waits until it listens, and kills what is left.

    Args:
        folder: where it runs, and keeps its file unless told otherwise.
        options: of the plugin.
        environ: settings; those of this process don't reach it. PORT is 0 unless told.
        runner: the command that runs the plugin.
        listener: a socket that listens already, as systemd hands one over: it takes connections
            while no daemon runs, and keeps its port for the next one.
    """

    folder: Path
    options: Sequence[str] = ()
    environ: Mapping[str, str] = attrs.field(factory=dict)
    runner: Sequence[str] = TWISTD
    listener: socket.socket | None = None
    #: The exit status, or minus the signal that killed it; None while it lives.
    status: int | None = attrs.field(default=None, init=False)
    _output: dict[int, bytearray] = attrs.field(
        factory=lambda: {1: bytearray(), 2: bytearray()}, init=False
    )
    _pulse: Pulse = attrs.field(factory=Pulse, init=False)

    def spawn(self) -> Self:
        """Start the process, and wait for nothing."""
        own = {name: text for name, text in os.environ.items() if not _OWN_SETTINGS.fullmatch(name)}
        # The checkout comes first, whether or not some version of the package is installed.
        ours = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PORT": "0"}
        command = [*self.runner, "kpiggybank", *self.options]
        environ = own | ours | dict(self.environ)
        channels: dict[int, str | int] = {0: "w", 1: "r", 2: "r"}
        if self.listener is not None:
            channels[3] = self.listener.fileno()
            command = ["/bin/sh", "-c", 'export LISTEN_PID=$$; exec "$@"', "sh", *command]
            environ |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http", "LISTEN": ADOPTED}
        reactor.spawnProcess(
            self, command[0], command, environ, str(self.folder), childFDs=channels
        )
        return self

    async def __aenter__(self) -> Self:
        self.spawn()
        try:
            await self.listening()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.kill()

    @property
    def out(self) -> str:
        """What it wrote to stdout, the log, until now."""
        return self._output[1].decode()

    @property
    def err(self) -> str:
        """What it wrote to stderr until now."""
        return self._output[2].decode()

    async def says(self, pattern: str) -> re.Match[str]:
        """The first match in its log, waited for; fails if it ends before."""

        def seek() -> re.Match[str] | None:
            match = re.search(pattern, self.out, re.MULTILINE)
            assert match or self.status is None, f"no {pattern!r}: {self._story()}"
            return match

        return await self._pulse.until(seek, lambda: f"{pattern!r}: {self._story()}")

    async def listening(self) -> tuple[str, str]:
        """Where it listens and what its store is, as the line at its start tells."""
        match = await self.says(r"KPIggyBank listens at (.+); store: (.+)\n")
        return match[1], match[2]

    async def settled(self) -> None:
        """Wait until it listens, or has ended."""

        def seek() -> bool | None:
            return "KPIggyBank listens at" in self.out or self.status is not None or None

        await self._pulse.until(seek, self._story)

    @property
    def port(self) -> int:
        """The port of 127.0.0.1 at which it listens."""
        match = re.search(r"listens at http://127\.0\.0\.1:(\d+);", self.out)
        assert match, self._story()
        return int(match[1])

    @property
    def pid(self) -> int:
        """The number of its process, while it lives."""
        transport: Any = self.transport
        assert transport.pid is not None, self._story()
        return int(transport.pid)

    def signal(self, name: str) -> None:
        """Send it a signal: "TERM", for example."""
        os.kill(self.pid, signal.Signals[f"SIG{name}"])

    async def ended(self) -> int:
        """Its exit status, once it and its output have ended."""
        return await self._pulse.until(lambda: self.status, lambda: f"its end: {self._story()}")

    async def terminate(self, name: str = "TERM") -> int:
        """Ask it to stop, and give its exit status."""
        self.signal(name)
        return await self.ended()

    async def kill(self) -> None:
        """End it without asking, if it still lives."""
        if self.status is None:
            self.signal("KILL")
            await self.ended()

    def _story(self) -> str:
        return f"status {self.status}; stdout:\n{self.out}\nstderr:\n{self.err}"

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Keep what it wrote."""
        self._output[childFD] += data
        self._pulse.beat()

    def processEnded(self, reason: Failure) -> None:
        """Keep the status."""
        end: Any = reason.value
        self.status = end.exitCode if end.signal is None else -end.signal
        self._pulse.beat()


@attrs.define(eq=False)
class Wire(Protocol):
    """A bare connection: sends bytes at once and keeps all that comes."""

    received: bytearray = attrs.field(factory=bytearray, init=False)
    #: Why the connection ended; None while it is open.
    end: Failure | None = attrs.field(default=None, init=False)
    _pulse: Pulse = attrs.field(factory=Pulse, init=False)

    def send(self, text: bytes) -> None:
        """Hand bytes to the kernel now, not at the reactor's next turn."""
        transport: Any = self.transport
        assert transport.getHandle().send(text) == len(text), "more than the kernel takes at once"

    async def heard(self, text: bytes) -> None:
        """Wait until these bytes have come."""

        def seek() -> bool | None:
            assert text in self.received or self.end is None, f"{self.end} {self.received!r}"
            return text in self.received or None

        await self._pulse.until(seek, lambda: f"{text!r} in {self.received!r}")

    async def more(self, than: int) -> bool:
        """Wait for more bytes than so many, or for the end; tells whether they have come."""

        def seek() -> bool | None:
            return len(self.received) > than or (None if self.end is None else False)

        return await self._pulse.until(seek, lambda: f"more than {than} bytes")

    async def rest(self) -> bytes:
        """All that has come, once the connection has ended."""
        await self._pulse.until(lambda: self.end, lambda: f"the end of {self.received!r}")
        return bytes(self.received)

    async def answer(self) -> Answer:
        """The whole answer, once the server has closed the connection behind it."""
        return Answer.parse(await self.rest())

    def close(self) -> None:
        """Cut the connection, if it is still open."""
        transport: Any = self.transport
        transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Keep what came."""
        self.received += data
        self._pulse.beat()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep the reason."""
        self.end = reason
        self._pulse.beat()


@attrs.frozen
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes

    @classmethod
    def parse(cls, text: bytes) -> Answer:
        """Read a whole answer; fails if it was cut short."""
        assert text, "the connection ended without an answer"
        source: Any = _Recorded(text)
        response = HTTPResponse(source)
        response.begin()
        return cls(response.status, response.read())

    @property
    def json(self) -> Any:
        """The value of the body."""
        return json.loads(self.body)


@attrs.frozen
class _Recorded:
    """Stands in for a socket from which an answer is read."""

    text: bytes

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.text)


async def connect(place: int | str) -> Wire:
    """A connection to a port of 127.0.0.1, or to a Twisted client endpoint."""
    endpoint = f"tcp:127.0.0.1:{place}" if isinstance(place, int) else place
    connected: Deferred[Wire] = connectProtocol(clientFromString(reactor, endpoint), Wire())
    return await connected.addTimeout(DEADLINE_SECONDS, reactor)


def post(event_or_list: Any, *head: bytes) -> bytes:
    """A request that saves events, as JSON; `head` are further lines of its head."""
    body = json.dumps(event_or_list).encode()
    lines = (
        f"POST {EVENTS} HTTP/1.1".encode(),
        b"Host: 127.0.0.1",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        *head,
    )
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path: str) -> bytes:
    """A request after whose answer the server closes the connection."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


async def ask(place: int | str, request: bytes) -> Answer:
    """Make one request over a connection of its own; it must ask for the connection's end."""
    wire = await connect(place)
    try:
        transport: Any = wire.transport
        transport.write(request)  # there may be more than the kernel takes at once
        return await wire.answer()
    finally:
        wire.close()
