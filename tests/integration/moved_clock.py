"""Runs twistd on a clock that is moved: `python -m ... FILE [twistd's options]`.

FILE holds by how many seconds, and is looked at each time.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from twisted.scripts.twistd import run

if __name__ == "__main__":
    moved = Path(sys.argv.pop(1))
    true_time = time.time
    # Before anything is imported that keeps it.
    time.time = lambda: true_time() + float(moved.read_text())
    run()
