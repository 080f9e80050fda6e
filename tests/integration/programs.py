"""Programs of examples, which are run as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from tests.integration.daemon import Pulse, reactor


@attrs.define(eq=False)
class Program(ProcessProtocol):
    """A program of an example."""

    texts: dict[int, bytes] = attrs.field(factory=lambda: {1: b"", 2: b""})
    status: int | None = None
    _pulse: Pulse = attrs.field(factory=Pulse)

    @classmethod
    def run(cls, command: Sequence[str], folder: Path, **environ: str) -> Program:
        """Start it."""
        program = cls()
        environ = {"PATH": "/usr/bin:/bin", **environ}
        reactor.spawnProcess(program, command[0], command, environ, str(folder))
        return program

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Keep what it says."""
        self.texts[childFD] += data
        self._pulse.beat()

    def processEnded(self, reason: Failure) -> None:
        """Keep how it ended."""
        self.status = getattr(reason.value, "exitCode", None) or 0
        self._pulse.beat()

    async def ended(self) -> str:
        """What it said, once it has ended well."""
        await self._pulse.until(lambda: self.status, lambda: f"the end of {self.texts}")
        assert self.status == 0, self.texts
        return self.texts[1].decode()

    async def said(self, text: bytes, channel: int) -> None:
        """Wait until it has said something."""
        await self._pulse.until(
            lambda: text in self.texts[channel] or None, lambda: f"{text!r} in {self.texts}"
        )
