"""The end of a daemon that may not start."""

from __future__ import annotations

from tests.integration.daemon import Daemon


async def refusal_of(daemon: Daemon) -> str:
    """The one line with which a daemon ends that may not start."""
    daemon.spawn()
    try:
        status = await daemon.ended()
    finally:
        await daemon.kill()
    assert "Traceback" not in daemon.out + daemon.err
    assert "listens at" not in daemon.out
    [line] = daemon.err.splitlines()
    assert status == 1, line
    return line
