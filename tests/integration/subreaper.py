"""Runs a program, waits for the one that it leaves behind, and tells how both ended.

`python -m tests.integration.subreaper PROGRAM ...`; Linux only.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from contextlib import suppress

#: From <linux/prctl.h>.
PR_SET_CHILD_SUBREAPER = 36

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    print("the program ended with", subprocess.call(sys.argv[1:]), flush=True)
    status = 0
    with suppress(ChildProcessError):
        while True:  # one only made the other, and ends first
            _, status = os.wait()
    print("what it left ended with", os.waitstatus_to_exitcode(status), flush=True)
