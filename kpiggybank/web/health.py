"""Whether all is well here, as those ask who send requests elsewhere when it is not."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from kpiggybank.bank import Bank
from kpiggybank.interfaces import StoreError

#: Seconds that the store has for an answer.
STORE_SECONDS = 5.0
#: Seconds after which a write that still waits is a failure.
WRITE_SECONDS = 10.0
#: Bytes; a disk with less room is told of. It is no failure: even of a full one, reads go on.
LOW_DISK_BYTES = 2**30


async def examine(bank: Bank, clock: IReactorTime) -> tuple[dict[str, Any], list[str]]:
    """Look at everything; returns what was found, and a line for each failure.

    Args:
        bank: is asked for its newest event, which is a round trip to the store.
        clock: for the patience with the store.
    """
    failures = []
    newest, asked = bank.last(), bank.space()
    checks: dict[str, Any] = {"store": {"ok": True}}
    try:
        await newest.addTimeout(STORE_SECONDS, clock)
    except (StoreError, TimeoutError) as error:
        reason = _reason(error)
        checks["store"] = {"ok": False, "reason": reason}
        failures.append(reason)
    disk = await _disk(asked, clock)
    if disk is not None:
        checks["disk"] = disk
    oldest, trouble = bank.appends.oldest, bank.appends.trouble
    late = oldest > WRITE_SECONDS
    checks["writes"] = {
        "ok": not late and trouble is None,
        "waiting": bank.appends.waiting,
        "oldest_seconds": round(oldest, 3),
    }
    if trouble is not None:  # no failure: who is sent elsewhere would not find out when it is over
        checks["writes"]["reason"] = trouble
    if late:
        failures.append(f"a write has been waiting for {oldest:.0f} seconds")
    return checks, failures


async def _disk(asked: Deferred[Any], clock: IReactorTime) -> dict[str, Any] | None:
    try:
        space = await asked.addTimeout(STORE_SECONDS, clock)
    except (StoreError, TimeoutError) as error:
        return {"ok": False, "reason": _reason(error)}
    if space is None:
        return None
    ok = space.free >= LOW_DISK_BYTES and space.trouble is None
    found = {"ok": ok, "free_bytes": space.free, "used_bytes": space.used}
    return found if space.trouble is None else {**found, "reason": space.trouble}


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"the store did not answer within {STORE_SECONDS:g} seconds"
    return str(error)
