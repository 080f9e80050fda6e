"""What the benchmarks share: servers as processes of their own, and the requests they are sent."""

from __future__ import annotations

import mmap
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec

from kpiggybank.sample import SignIns

#: A turn needs less; but these pages need not be those that the kernel takes next.
_FREE_BYTES = 2**30

BANK = [sys.executable, "-m", "twisted", "kpiggybank"]


def requests() -> list[bytes]:
    """Whole requests, as the sign-in server of the first KPIggyBank sends them."""
    found = []
    for event in SignIns(seed=1).take(500):
        body = b"data=" + quote(msgspec.json.encode(event)).encode()
        found.append(
            b"POST /wsapi/interaction_data HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
    return found


@contextmanager
def server(command: list[str], core: int | None, **environ: str) -> Iterator[tuple[int, int]]:
    """A server as a process of its own: its port and process id.

    Args:
        command: starts it; it prints its URL on 127.0.0.1.
        core: the only one that it may use; None for all that we may.
        environ: settings.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **environ},
    )
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                yield int(found[1]), process.pid
                break
        else:
            raise RuntimeError(f"{command} did not start")
    finally:
        process.terminate()
        process.communicate()


def free_memory() -> None:
    """See that the kernel has free memory at hand, enough for the files of a turn.

    The kernel of a virtual machine may have to ask its host for memory that nobody has used lately.
    That takes some 10 us a page, more than to write it, and meets whoever is the first.
    """
    there = os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE
    flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, min(_FREE_BYTES, there // 2), flags=flags).close()


def cpu_seconds(pid: int) -> float:
    """What a process has used of its core so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle_seconds(core: int) -> float:
    """For how long a core has had nothing to do so far, or nothing but to wait for the disk."""
    (line,) = re.findall(rf"^cpu{core} (.*)$", Path("/proc/stat").read_text(), re.MULTILINE)
    fields = line.split()
    return (int(fields[3]) + int(fields[4])) / os.sysconf("SC_CLK_TCK")
