"""What schemathesis is told beyond the description; it is loaded by its command."""

from __future__ import annotations

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(context: Any, value: Any) -> Any:
    """A body of lines: a text as it is, all else as a line of JSON."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "replace")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Ask for streams that end only, and let some texts be events, of which chance makes none."""
    if case.path.endswith("/stream"):
        query = case.query if isinstance(case.query, dict) else {}
        if query.get("feed") in (None, "", "continuous", [], ["continuous"]):
            case.query = {**query, "feed": "normal"}
    body = case.body
    if case.media_type == "application/x-ndjson" and isinstance(body, str) and len(body) % 2:
        case.body = "".join(map(_event, body.split()))
    elif isinstance(body, dict) and isinstance(body.get("data"), str) and len(body["data"]) % 2:
        case.body = {**body, "data": _event(body["data"])}


def _event(text: str) -> str:
    return json.dumps({"timestamp": len(text), "text": text}) + "\n"
