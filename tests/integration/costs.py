"""What a daemon costs, as Linux's /proc tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.daemon import Daemon

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc"
)


def memory(daemon: Daemon, what: str) -> int:
    """The daemon's memory now ("VmRSS"), or at its peak ("VmHWM"), in KiB."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    (size,) = re.findall(rf"^{what}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(size)


def forget_peak(daemon: Daemon) -> None:
    """Let the peak begin anew."""
    Path(f"/proc/{daemon.pid}/clear_refs").write_text("5")


def open_files(daemon: Daemon) -> int:
    """How many files and connections the daemon has open."""
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
