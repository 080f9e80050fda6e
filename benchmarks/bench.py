"""KPIggyBank on SQLite in nine rows, each against something that has to do less.

1. Single form POSTs with one event each over 64 connections, answered after a sync of the disk / a
   Klein resource that lets Twisted parse the form and says "ok".
2. POSTs of 1,000 JSON events / apsw's bare `executemany` of 1,000 ready rows into the same schema,
   each with a commit of its own; both sync each commit.
3. The same POSTs where 1 million events are stored / where there are 100,000.
4. A range of 1 million over HTTP / a loop over the same rows with the standard library's `sqlite3`.
5. The first byte of that range, and the daemon's memory for it.
6. A range of 10 rows out of 1 million / a ping, over 64 connections.
7. A count of 1 million / a ping, over 64 connections.
8. The slowest hundredth of POSTs at an even pace, while somebody reads the million / while nobody
   does.
9. One POST after the other, when the log has been filled once / a bare `fdatasync` of 4 KiB at the
   end of a file, both at their median. The bare one is on the load's core, and on the servers', as
   other sides are: where the disk interrupts one of them only, who is on the other waits longer.

The daemon is a real one with its ordinary settings. The two sides take turns, so that a noisy
machine disturbs both; where there are two cores, one is for the servers and the other for the load.
The ratios are what counts, the rates are not comparable between machines. Each ratio is the median
of those of the rounds, of which there are 5 to 15; that is not quite the ratio of the two medians
beside it. Row 5 has no other side: its goal is for the value itself. The files are in the folder
for temporary ones, which should be on a disk: `TMPDIR` chooses another.

`python -m benchmarks.bench --row 4 --row 6` measures these only.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.daemons import Bench
from benchmarks.databases import Databases
from benchmarks.delay_rows import beside_a_range, one_at_a_time
from benchmarks.read_rows import counts, few, whole_ranges
from benchmarks.table import HEAD, Row
from benchmarks.write_rows import bulk_posts, single_posts, stored

#: What measures which rows.
MEASURES: dict[Callable[[Bench], Iterable[Row]], tuple[int, ...]] = {
    single_posts: (1,),
    bulk_posts: (2,),
    stored: (3,),
    whole_ranges: (4, 5),
    few: (6,),
    counts: (7,),
    beside_a_range: (8,),
    one_at_a_time: (9,),
}


def main() -> None:
    """Measure in turn and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    numbers = [number for each in MEASURES.values() for number in each]
    parser.add_argument("--row", type=int, action="append", choices=numbers, help="only this one")
    wanted = parser.parse_args().row or numbers
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    remarks = []
    with TemporaryDirectory() as folder:
        bench = Bench(cores[0], Databases(Path(folder)))
        print(HEAD)
        for measure, measured in MEASURES.items():
            if not set(measured) & set(wanted):
                continue
            os.sync()  # what the rows before have written is not to be in the way of these
            for row in measure(bench):
                if row.number in wanted:
                    print(row, flush=True)
                    remarks += row.remarks
    for remark in remarks:
        print(remark)


if __name__ == "__main__":
    main()
