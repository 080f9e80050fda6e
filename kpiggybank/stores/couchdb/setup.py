"""What a database needs before it can keep events, made where it is missing."""

from __future__ import annotations

from importlib import resources
from secrets import token_hex
from typing import Any

from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.stores.couchdb.server import Refused, Server, encode

#: Of our design documents. A later one is left alone and refused; an earlier one is replaced.
VERSION = 1

#: Path of the view of all events by time.
BY_TIME = "/_design/kpiggybank/_view/by_time"

_VIEWS = "/_design/kpiggybank"
_LIFE = "/_design/kpiggybank-life"
_ATTEMPTS = 5


async def prepare(server: Server) -> str:
    """Create the database and our design documents, where missing; the name of the database's life.

    Any number of daemons may do this at the same time. Nothing that is not ours is touched.

    Raises:
        Refused: trying again will not help; the text is one line that says what to do.
        StoreUnavailable: it may, later.
    """
    status, _ = await server.ask("GET", "", object, expected=(200, 404))
    if status == 404:
        # 412: another daemon was faster. 202: some nodes of the cluster will hear of it later.
        await server.ask("PUT", "", object, expected=(201, 202, 412))
    await _keep(server, _VIEWS, _views())
    await _keep(server, _LIFE, None)
    return await _life(server)


def _views() -> dict[str, Any]:
    by_time = resources.files(__package__).joinpath("by_time.js").read_text()
    # The comment at its top is for readers of the source.
    code = by_time[by_time.index("function") :].strip()
    return {
        "language": "javascript",
        "version": VERSION,
        "views": {"by_time": {"map": code, "reduce": "_count"}},
    }


async def _keep(server: Server, path: str, wanted: dict[str, Any] | None) -> None:
    """Make a design document what it should be; None only wants it to be there."""
    for _ in range(_ATTEMPTS):
        status, found = await server.ask("GET", path, dict[str, Any], expected=(200, 404))
        content = wanted or {"language": "javascript", "generation": token_hex(8)}
        if status == 200 and found is not None:
            if wanted is None:
                return
            rev = found["_rev"]
            found = {name: value for name, value in found.items() if not name.startswith("_")}
            if found == wanted:
                return
            if found.get("version", 0) > VERSION:
                raise Refused(
                    f"the database at {server.url} was set up by a later version of KPIggyBank"
                )
            content = {**wanted, "_rev": rev}
        status, _ = await server.ask(
            "PUT", path, object, body=encode(content), expected=(201, 202, 409)
        )
        if status != 409:  # otherwise another daemon was faster
            return
    raise StoreUnavailable(f"CouchDB at {server.place} does not take {path}")


async def _life(server: Server) -> str:
    # Daemons that start at once on several nodes may each have written one. All see all of them in
    # the end, and all take the same.
    _, leaves = await server.ask(
        "GET", _LIFE, list[dict[str, Any]], query={"open_revs": "all"}, expected=(200,)
    )
    lives = [
        str(leaf["ok"]["generation"]) for leaf in leaves or () if "generation" in leaf.get("ok", {})
    ]
    if not lives:
        raise StoreUnavailable(f"CouchDB at {server.place} does not tell {_LIFE}")
    return min(lives)
