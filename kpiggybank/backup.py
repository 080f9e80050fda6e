"""A copy of a SQLite file in use, as a command: `kpiggybank-backup FILE TARGET`."""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentParser

from kpiggybank.interfaces import StoreError
from kpiggybank.stores.sqlite.backup import back_up
from kpiggybank.stores.sqlite.wal import missing_log


def main() -> None:
    """Copy a file; ends with status 0 if the copy is complete and on the disk, else with 1."""
    parser = ArgumentParser("kpiggybank-backup", description="Copy a SQLite file that is in use.")
    parser.add_argument("file", help="the daemon's file")
    parser.add_argument("target", help="the copy, which must not be there yet")
    asked = parser.parse_args()
    if (remark := missing_log(asked.file)) is not None:
        print(f"kpiggybank-backup: {remark}", file=sys.stderr)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _stop)
    try:
        count = back_up(asked.file, asked.target)
    except StoreError as error:
        sys.exit(f"kpiggybank-backup: {error}")
    print(f"{asked.target}: {count} events")


def _stop(number: int, frame: object) -> None:
    sys.exit(f"kpiggybank-backup: stopped by {signal.Signals(number).name}")


if __name__ == "__main__":
    main()
