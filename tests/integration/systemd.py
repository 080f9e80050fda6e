"""Stands for systemd, where the daemon tells it how it goes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import DatagramProtocol

from tests.integration.daemon import Pulse, reactor


@attrs.define(eq=False)
class Ear(DatagramProtocol):
    """Hears what systemd would.

    Args:
        path: where.
    """

    path: Path
    heard: list[str] = attrs.field(factory=list)
    _pulse: Pulse = attrs.field(factory=Pulse)

    @property
    def environ(self) -> dict[str, str]:
        """What systemd would give to the daemon."""
        return {"NOTIFY_SOCKET": str(self.path)}

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Keep what was said."""
        self.heard.append(datagram.decode())
        self._pulse.beat()

    async def hears(self, start: str, count: int = 1) -> str:
        """The last of so many messages that begin so, waited for."""

        def seek() -> str | None:
            found = [text for text in self.heard if text.startswith(start)]
            return found[count - 1] if len(found) >= count else None

        return await self._pulse.until(seek, lambda: f"{start!r} in {self.heard}")

    async def hears_more(self, start: str) -> str:
        """The next message that begins so."""
        return await self.hears(start, sum(text.startswith(start) for text in self.heard) + 1)


@pytest.fixture
def ear() -> Iterator[Ear]:
    """Hears what is said to a socket in a folder that any user may enter."""
    with tempfile.TemporaryDirectory(prefix="kpi-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        ear = Ear(Path(folder) / "notify")
        port = reactor.listenUNIXDatagram(str(ear.path), ear)
        ear.path.chmod(0o777)
        yield ear
        pytest_twisted.blockon(maybeDeferred(port.stopListening))
