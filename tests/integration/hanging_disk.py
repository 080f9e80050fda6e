"""Runs twistd on a disk that hangs when it is told to: `python -m ... GATE [twistd's options]`.

While GATE is a FIFO, every statement of SQLite waits until somebody opens it for writing.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
from twisted.scripts.twistd import run


def main() -> None:
    """Put the gate in its place, then be twistd."""
    gate = Path(sys.argv.pop(1))

    def pass_gate(*statement: Any) -> bool:
        with suppress(FileNotFoundError):
            gate.open("rb").close()
        return True

    def hook(connection: apsw.Connection) -> None:
        connection.exec_trace = pass_gate

    apsw.connection_hooks.append(hook)
    run()


if __name__ == "__main__":
    main()
