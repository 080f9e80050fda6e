"""The HTTP interface, described as OpenAPI 3.1; a route and its lines here change together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

import kpiggybank
from kpiggybank.web.formats import JSON, NDJSON
from kpiggybank.web.operations import READ, RESPONSES, SERVER, WRITE, found, operation, with_head
from kpiggybank.web.schemas import HEADERS, PARAMETERS, SCHEMAS, Json, schema
from kpiggybank.web.streams import EVENT_STREAM

_ROOT = "/wsapi/interaction_data"
_JSON, _NDJSON, _SSE = JSON.decode(), NDJSON.decode(), EVENT_STREAM.decode()
_TEXT = {"type": "string"}
_CHANGE = (
    '{"seq":"1-9f3a04c1","id":"01a20abceaf8775d50d5bf054de4","doc":{"timestamp":1700000000}}\r\n'
)


@attrs.frozen
class Operation:
    """What one route is for, with a line for the shell that works as it stands.

    Attributes:
        token: the setting whose token it takes, where the server has some; empty where it is open.
    """

    method: str
    path: str
    summary: str
    curl: str
    token: str


def operations(server: str = SERVER) -> Iterator[Operation]:
    """What there is to try at a server; HEAD left out.

    Where it has tokens, the lines also take `-H "Authorization: Bearer $READ_TOKEN"`, or what
    `token` says for that.
    """
    for path, methods in DESCRIPTION["paths"].items():
        for method, known in methods.items():
            for sample in known.get("x-codeSamples", ()):
                curl = sample["source"].replace(SERVER, server)
                (token, *_) = [name.upper() for each in known["security"] for name in each] or [""]
                yield Operation(method.upper(), path, known["summary"], curl, token)


_RANGE = ("start", "end", "where", "descending", "limit", "after")

_PATHS: Final[Json] = {
    _ROOT: {
        "post": operation(
            "deposit",
            "Store an event, or a list of them: all or none, on the disk before the answer.",
            """-d 'data={"type": "hello", "timestamp": 1700000000}' """ + f"'@{_ROOT}'",
            found("All are stored.", {_JSON: schema("Stored")}),
            status=201,
            more=(403, 409, 415, 507),
            parameters=("idempotency_key", "content_encoding"),
            security=WRITE,
            requestBody={
                "required": True,
                "content": {
                    "application/x-www-form-urlencoded": {"schema": schema("Form")},
                    _JSON: {"schema": schema("Deposit")},
                    _NDJSON: {
                        "schema": {
                            **_TEXT,
                            "description": "An event a line, each as the schema Event has it.",
                            "examples": ['{"timestamp": 1700000000}\n{"timestamp": 1700000060}\n'],
                        }
                    },
                },
            },
        ),
        **with_head(
            operation(
                "events",
                "A range of events by timestamp, both ends included, or one by its id.",
                f"'@{_ROOT}?start=1700000000&limit=10'",
                found(
                    "The events in the order of timestamp, then arrival; however many there are.",
                    {
                        _JSON: schema("Range"),
                        _NDJSON: {**_TEXT, "description": "An event a line."},
                    },
                    "Link",
                ),
                more=(404,),
                parameters=(*_RANGE, "format", "id"),
            )
        ),
    },
    f"{_ROOT}/rows": with_head(
        operation(
            "rows",
            "The same range as rows: id, key (the timestamp) and value (the event).",
            f"'@{_ROOT}/rows?limit=10'",
            found("The rows.", {_JSON: schema("Rows")}, "Link"),
            parameters=_RANGE,
        )
    ),
    f"{_ROOT}/count": with_head(
        operation(
            "count",
            "How many events a range holds.",
            f"'@{_ROOT}/count?where=type:hello'",
            found("A number.", {_JSON: schema("Count")}),
            parameters=("start", "end", "where"),
        )
    ),
    f"{_ROOT}/last": with_head(
        operation(
            "last",
            "The event of the greatest timestamp, or null.",
            f"'@{_ROOT}/last'",
            found("The event.", {_JSON: schema("Last")}),
        )
    ),
    f"{_ROOT}/stream": with_head(
        operation(
            "stream",
            "Events as they arrive, a line each, from now or from any cursor on.",
            f"-N '@{_ROOT}/stream?since=0'",
            found(
                "Changes, each a line that ends in CRLF, as the schema Change has it; also LastSeq "
                "and Reset. Empty lines are signs of life. As Server-Sent Events, a change is a "
                "message whose data is the line and whose id is the cursor; the other two are "
                "messages of the names last_seq and reset.",
                {_NDJSON: {**_TEXT, "examples": [_CHANGE]}, _SSE: {}},
                "KPIggyBank-Cursor",
            ),
            parameters=(
                *("since", "feed", "stream_limit", "heartbeat", "where", "stream_format"),
                "last_event_id",
            ),
            description="It ends after `limit` changes, or with `feed=normal` after those that "
            "there are; otherwise it goes on until somebody leaves.",
        )
    ),
    "/wsapi/ping": with_head(
        operation(
            "ping",
            "A sign of life.",
            "'@/wsapi/ping'",
            found("pong", {"text/plain": {"const": "pong"}}),
            tag="The server",
            security=[{"write_token": []}, *READ],
        )
    ),
    "/__heartbeat__": with_head(
        operation(
            "heartbeat",
            "Whether all is well, after a round trip to the store.",
            "'@/__heartbeat__'",
            found("It is.", {_JSON: schema("Health")}),
            tag="The server",
            security=[],
            sick=found(
                "Something is not well, or there is too much to do.",
                {_JSON: {"anyOf": [schema("Illness"), schema("Error")]}},
                "Retry-After",
            ),
        )
    ),
    "/__lbheartbeat__": with_head(
        operation(
            "process_heartbeat",
            "Whether the process answers.",
            "'@/__lbheartbeat__'",
            found("It does.", {_JSON: schema("Alive")}),
            tag="The server",
            security=[],
        )
    ),
    "/__version__": with_head(
        operation(
            "version",
            "What runs here.",
            "'@/__version__'",
            found("Its name and version.", {_JSON: schema("Version")}),
            tag="The server",
            security=[],
        )
    ),
    "/metrics": with_head(
        operation(
            "metrics",
            "What Prometheus collects, where the server has tokens.",
            "",
            found("The metrics, as text.", {"text/plain": _TEXT}),
            more=(404,),
            tag="The server",
            security=[{"read_token": []}],
        )
    ),
    "/openapi.json": with_head(
        operation(
            "description",
            "This description.",
            "'@/openapi.json'",
            found("OpenAPI 3.1.", {_JSON: {"type": "object"}}, "ETag"),
            tag="This description",
            security=[],
            parameters=("if_none_match",),
            unchanged=True,
        )
    ),
    "/docs": with_head(
        operation(
            "docs",
            "A page to try the API in a browser.",
            "'@/docs'",
            found("The page.", {"text/html": _TEXT}, "ETag"),
            tag="This description",
            security=[],
            parameters=("if_none_match",),
            unchanged=True,
        )
    ),
    **{
        f"/docs/{name}": with_head(
            operation(
                f"docs_{name}",
                "A file of that page.",
                "",
                found("The file.", {kind: _TEXT}, "ETag"),
                tag="This description",
                security=[],
                parameters=("if_none_match",),
                unchanged=True,
            )
        )
        for name, kind in (("docs.js", "text/javascript"), ("rapidoc-min.js", "text/javascript"))
    },
}
DESCRIPTION: Final[Json] = {
    "openapi": "3.1.0",
    "info": {
        "title": "KPIggyBank",
        "version": kpiggybank.__version__,
        "summary": "Keeps KPI events: post them, query them, follow them live.",
        "description": "Where the server has tokens, a request takes one, save for what is open. "
        "A trailing slash is the same path, HEAD is answered as GET without a body, and parameters "
        "that are unknown are passed over. To try the stream here, choose `feed=normal`: the "
        "other one does not end.",
        "license": {"name": "MPL 2.0", "identifier": "MPL-2.0"},
    },
    "servers": [{"url": "/"}],
    "tags": [
        {"name": "Events", "description": "Store them, ask for them, follow them."},
        {"name": "The server", "description": "How it is."},
        {"name": "This description", "description": "And the page that shows it."},
        {"name": "HEAD", "description": "The head of an answer, without its body."},
    ],
    "paths": _PATHS,
    "components": {
        "schemas": SCHEMAS,
        "parameters": PARAMETERS,
        "headers": HEADERS,
        "responses": RESPONSES,
        "securitySchemes": {
            "write_token": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of WRITE_TOKEN, which may post.",
            },
            "read_token": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of READ_TOKEN, which may read and follow.",
            },
        },
    },
}
