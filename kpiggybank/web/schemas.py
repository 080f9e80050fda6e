"""What the description of the HTTP interface says of values: bodies, errors, parameters, headers.

Limits that are settings have no numbers here, so that other settings do not make it wrong.
"""

from __future__ import annotations

from typing import Any, Final

from kpiggybank.web.query import MAX_CONDITIONS, MAX_HEARTBEAT_SECONDS, MAX_LIMIT, MAX_STREAM_LIMIT

Json = dict[str, Any]


def ref(kind: str, name: str) -> Json:
    """A mention of a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def schema(name: str) -> Json:
    """A mention of a schema."""
    return ref("schemas", name)


def _object(required: list[str] | None = None, **properties: Json) -> Json:
    return {
        "type": "object",
        "required": list(properties) if required is None else required,
        "properties": properties,
    }


_TEXT: Final = {"type": "string"}
_CHECK: Final = _object(["ok"], ok={"type": "boolean"}, reason=_TEXT)
_COUNT: Final = {"type": "integer", "minimum": 0}
_EXAMPLE: Final = {"type": "hello", "timestamp": 1700000000}
_ERRORS: Final = (
    *("bad_request", "unauthorized", "forbidden", "not_found", "conflict", "too_large"),
    *("method_not_allowed", "unsupported_media_type", "misdirected_request", "damaged"),
    *("internal_error", "unavailable", "insufficient_storage"),
)

SCHEMAS: Final[Json] = {
    "Event": {
        "type": "object",
        "description": "An event: all but its timestamp is its sender's business. No name at the "
        "top begins with `_`. MAX_EVENT and MAX_DEPTH limit its size and depth.",
        "required": ["timestamp"],
        "properties": {
            "timestamp": {
                "type": "number",
                "description": "Its time: seconds, milliseconds, fractions, negative ones.",
            }
        },
        "propertyNames": {"pattern": "^(?!_)"},
        "additionalProperties": True,
        "examples": [_EXAMPLE],
    },
    "Events": {
        "description": "An event, or a list of them; a list within the list is flattened.",
        "anyOf": [
            schema("Event"),
            {
                "type": "array",
                "items": {
                    "anyOf": [schema("Event"), {"type": "array", "items": schema("Event")}],
                },
            },
        ],
    },
    "Deposit": {
        "description": "Events, also as the only member `data` of an object, or as a text there.",
        "anyOf": [
            schema("Events"),
            {
                **_object(data={"anyOf": [schema("Events"), {**_TEXT, "description": "JSON."}]}),
                "additionalProperties": False,
            },
        ],
        "examples": [_EXAMPLE, [_EXAMPLE, {"timestamp": 1700000060}]],
    },
    "Form": _object(
        data={
            **_TEXT,
            "contentMediaType": "application/json",
            "contentSchema": schema("Events"),
            "examples": ['{"type": "hello", "timestamp": 1700000000}'],
        }
    ),
    "Stored": _object(
        ok={"const": True},
        ids={
            "type": "array",
            "items": _TEXT,
            "description": "The ids of the events, lists within lists flattened.",
        },
    ),
    "Row": _object(id=_TEXT, key={"type": "number"}, value=schema("Event")),
    "Range": {
        "description": "Events; as rows where these are asked for; or the one whose id was given.",
        "anyOf": [
            {"type": "array", "items": schema("Event")},
            {"type": "array", "items": schema("Row")},
            _object(results=schema("Event")),
        ],
    },
    "Rows": {"type": "array", "items": schema("Row")},
    "Count": _COUNT,
    "Last": {"anyOf": [schema("Event"), {"type": "null"}]},
    "Change": {
        "description": "A line of the stream, or the data of a message without a name.",
        **_object(seq=_TEXT, id=_TEXT, doc=schema("Event")),
    },
    "LastSeq": {
        "description": "The last line of a stream that ends in order, or the message `last_seq`: "
        "the place to go on from. With feed=normal, also how many changes come after it.",
        **_object(["last_seq"], last_seq=_TEXT, pending=_COUNT),
    },
    "Reset": {
        "description": "Changes are missing before this place; also the message `reset`.",
        **_object(reset=_TEXT, reason=_TEXT),
    },
    "Alive": _object(ok={"const": True}),
    "Health": _object(["ok", "checks"], ok={"const": True}, checks=schema("Checks")),
    "Illness": _object(
        ok={"const": False}, error={"const": "unavailable"}, reason=_TEXT, checks=schema("Checks")
    ),
    "Checks": _object(
        ["store", "writes"],
        store=_CHECK,
        disk=_object(
            ["ok"], ok={"type": "boolean"}, reason=_TEXT, free_bytes=_COUNT, used_bytes=_COUNT
        ),
        writes=_object(
            ["ok", "waiting", "oldest_seconds"],
            ok={"type": "boolean"},
            waiting=_COUNT,
            oldest_seconds={"type": "number", "minimum": 0},
            reason=_TEXT,
        ),
    ),
    "Version": _object(["name", "version"], name=_TEXT, version=_TEXT, source=_TEXT, commit=_TEXT),
    "Error": _object(error={**_TEXT, "enum": list(_ERRORS)}, reason=_TEXT),
}

_CURSOR = "A cursor, which is opaque."

HEADERS: Final[Json] = {
    "X-Request-Id": {
        "description": "The request's name in the log: the one that came with it, or a new one.",
        "required": True,
        "schema": {**_TEXT, "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "Link": {
        "description": 'With a limit, and while there is more: the next page, with rel="next".',
        "schema": _TEXT,
    },
    "KPIggyBank-Cursor": {
        "description": f"Where the stream begins. {_CURSOR}",
        "required": True,
        "schema": _TEXT,
    },
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}},
    "ETag": {"required": True, "schema": _TEXT},
}


def _query(name: str, description: str, of: Json, **more: Any) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": of, **more}


def _header(name: str, description: str, of: Json) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": of}


PARAMETERS: Final[Json] = {
    "start": _query("start", "The least timestamp; inclusive.", {"type": "number"}),
    "end": _query("end", "The greatest timestamp; inclusive.", {"type": "number"}),
    "where": _query(
        "where",
        "A field and its value, such as `user_agent.browser:Firefox`; all given must be met.",
        {
            "type": "array",
            "maxItems": MAX_CONDITIONS,
            "items": {**_TEXT, "pattern": r"^[^.:]+(\.[^.:]+)*:"},
        },
        explode=True,
    ),
    "descending": _query("descending", "Reverses the order.", {**_TEXT, "enum": ["false", "true"]}),
    "limit": _query(
        "limit",
        "The most events of a page; the header Link has the next one.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
    ),
    "after": _query("after", "Where a page begins; from the header Link.", _TEXT),
    "id": _query("id", 'Only this event, as `{"results": event}`; all else is ignored.', _TEXT),
    "format": _query("format", "How to write them.", {**_TEXT, "enum": ["json", "rows", "ndjson"]}),
    "since": _query(
        "since",
        f"Where to begin: `now`, which is the default, `0` for all, or a cursor. {_CURSOR}",
        {**_TEXT, "examples": ["0"]},
    ),
    "feed": _query(
        "feed",
        "`continuous`, the default, goes on until somebody leaves; `normal` tells what there is.",
        {
            **_TEXT,
            "enum": ["continuous", "normal"],
            "default": "continuous",
            "examples": ["normal"],
        },
    ),
    "stream_limit": _query(
        "limit",
        "Changes after which it ends.",
        {"type": "integer", "minimum": 1, "maximum": MAX_STREAM_LIMIT},
    ),
    "heartbeat": _query(
        "heartbeat",
        "Seconds of silence after which there is an empty line, or a comment.",
        {"type": "number", "minimum": 1, "maximum": MAX_HEARTBEAT_SECONDS, "default": 15},
    ),
    "stream_format": _query(
        "format",
        "Lines of JSON, or Server-Sent Events; without it, the header Accept chooses.",
        {**_TEXT, "enum": ["ndjson", "sse"]},
    ),
    "last_event_id": _header("Last-Event-ID", f"As `since`, and beats it. {_CURSOR}", _TEXT),
    "if_none_match": _header("If-None-Match", "The ETag of what the client has.", _TEXT),
    "request_id": _header(
        "X-Request-Id",
        "The request's name in the log; of another form it is passed over.",
        {**_TEXT, "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    ),
    "idempotency_key": _header(
        "Idempotency-Key",
        "Names the events: `KEY`, or `KEY.0` and so on for a list. The same request again stores "
        "nothing.",
        {**_TEXT, "pattern": "^[A-Za-z0-9_-]{1,64}$"},
    ),
    "content_encoding": _header(
        "Content-Encoding",
        "How the body is compressed; MAX_BODY also limits what it expands to.",
        {**_TEXT, "enum": ["identity", "gzip", "x-gzip"]},
    ),
}
