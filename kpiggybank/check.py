"""The full check of a SQLite file, as a command: `kpiggybank-check FILE`."""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentParser

from kpiggybank.interfaces import StoreError
from kpiggybank.stores.sqlite.checking import FileCheck
from kpiggybank.stores.sqlite.wal import missing_log


def main() -> None:
    """Check a file; ends with status 0 if all is well, 1 if it is damaged, 2 if it is none."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is nothing to complain of
    parser = ArgumentParser("kpiggybank-check", description="Check every event of a SQLite file.")
    parser.add_argument("file", help="may be in use")
    path = parser.parse_args().file
    if (remark := missing_log(path)) is not None:
        print(f"kpiggybank-check: {remark}", file=sys.stderr)
    check = FileCheck(path)
    count = 0
    try:
        for finding in check.findings():
            print(finding, flush=True)
            count += 1
    except StoreError as error:
        if count:
            # What has been found so far is why.
            print(f"{error}")
            sys.exit(1)
        print(f"kpiggybank-check: {error}", file=sys.stderr)
        sys.exit(2)
    if count:
        print(f"{path}: {check.events} events; damaged, see above and README, Damage")
        sys.exit(1)
    print(f"{path}: {check.events} events, all as they were written")


if __name__ == "__main__":
    main()
