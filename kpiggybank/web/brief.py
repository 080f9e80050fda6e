"""What the page says of the API: an example for each of its main routes."""

from __future__ import annotations

from typing import Final

import attrs

_SERVER = "http://127.0.0.1:3000"
_ROOT = "/wsapi/interaction_data"


@attrs.frozen
class Operation:
    """What one route is for, with a line for the shell that works as it stands."""

    method: str
    path: str
    summary: str
    curl: str


OPERATIONS: Final = (
    Operation(
        "POST",
        _ROOT,
        "Store an event, or a list of them: all or none. Each is an object with a timestamp.",
        f"""curl -d 'data={{"type": "hello", "timestamp": 1700000000}}' {_SERVER}{_ROOT}""",
    ),
    Operation(
        "GET",
        _ROOT,
        "The events of a range; both ends are included, and may be left out.",
        f"curl '{_SERVER}{_ROOT}?start=1700000000&limit=10'",
    ),
    Operation(
        "GET",
        f"{_ROOT}/count",
        "How many there are; also of a range, or with a condition.",
        f"curl '{_SERVER}{_ROOT}/count?where=type:hello'",
    ),
    Operation(
        "GET",
        f"{_ROOT}/stream",
        "Each event as it arrives, a line each. With a cursor as since, it goes on there.",
        f"curl -N '{_SERVER}{_ROOT}/stream?since=now'",
    ),
    Operation(
        "GET",
        "/__heartbeat__",
        "Whether all is well, after a round trip to the store.",
        f"curl {_SERVER}/__heartbeat__",
    ),
)
