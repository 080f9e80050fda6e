"""The other side of row 4: a plain loop over a range with the standard library's `sqlite3`.

`python -m benchmarks.plain_reader CORE FILE START END` prints how many seconds it took, and how
many of them it used its core.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time

_QUESTION = "SELECT json FROM event WHERE timestamp BETWEEN ? AND ? ORDER BY timestamp, seq"


def main(core: str, file: str, start: str, end: str) -> None:
    """Read all rows once."""
    os.sched_setaffinity(0, {int(core)})
    connection = sqlite3.connect(file)
    started, cpu = time.perf_counter(), time.process_time()
    row = ("",)
    for row in connection.execute(_QUESTION, (int(start), int(end))):  # noqa: B007
        pass
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    if not row[0].startswith(f'{{"timestamp":{end},'):
        raise RuntimeError(f"not the last row: {row!r}")
    print(seconds, cpu)


if __name__ == "__main__":
    main(*sys.argv[1:])
