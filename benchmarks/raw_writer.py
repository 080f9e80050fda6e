"""The other side of row 2: bare `executemany` through apsw into the schema of KPIggyBank.

`python -m benchmarks.raw_writer CORE SOURCE TARGET BATCH`. For each line "FIRST LAST" that it gets,
it takes the events of these sequences from one database as they are, and inserts them into the
other, a transaction for each batch. It prints how many seconds the inserts took, and how many of
them it used its core.
"""

from __future__ import annotations

import os
import sys
import time

import apsw

from kpiggybank.stores.sqlite.opening import open_file


def main(core: str, source: str, target: str, batch: str) -> None:
    """Write until there are no more lines."""
    os.sched_setaffinity(0, {int(core)})
    open_file(target).close()
    reader = apsw.Connection(source, flags=apsw.SQLITE_OPEN_READONLY)
    writer = apsw.Connection(target, flags=apsw.SQLITE_OPEN_READWRITE)
    writer.pragma("journal_mode", "wal")
    writer.pragma("synchronous", "full")
    size = int(batch)
    for line in sys.stdin:
        rows = list(
            reader.execute("SELECT * FROM event WHERE seq BETWEEN ? AND ?", tuple(line.split()))
        )
        marks = ", ".join("?" * len(rows[0]))
        started, cpu = time.perf_counter(), time.process_time()
        for first in range(0, len(rows), size):
            writer.execute("BEGIN IMMEDIATE")
            writer.executemany(f"INSERT INTO event VALUES ({marks})", rows[first : first + size])
            writer.execute("COMMIT")
        print(time.perf_counter() - started, time.process_time() - cpu, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
