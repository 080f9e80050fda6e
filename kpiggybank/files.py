"""How many files this process may open."""

from __future__ import annotations

import resource


def allow_open_files(wanted: int) -> int:
    """Let this process open so many files, connections among them; tells how many it may.

    The system's administrator may have set a lower limit, to which it goes then.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
