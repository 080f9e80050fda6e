"""Where the metrics of a real daemon are."""

from __future__ import annotations

from tests.integration.daemon import Daemon

METRICS = {"METRICS": "tcp:0:interface=127.0.0.1"}


async def metrics_port(daemon: Daemon) -> int:
    """Where the daemon says that its metrics are."""
    said = await daemon.says(r"metrics are at http://127\.0\.0\.1:(\d+)/metrics")
    return int(said[1])
