"""How an operation of the HTTP interface is described: what it takes, and all it may answer."""

from __future__ import annotations

from typing import Any, Final

from kpiggybank.web.formats import JSON
from kpiggybank.web.schemas import Json, ref, schema

#: Where the examples find the server, unless it is told.
SERVER: Final = "http://127.0.0.1:3000"

_JSON = JSON.decode()

#: What each failure is, by status, and the headers that it has beside the id.
_ERRORS: Final = {
    400: ("A parameter, a cursor, a header or the body is not what it should be.", ()),
    401: ("There is no token that allows it.", ("WWW-Authenticate",)),
    403: ("The page of a foreign origin may not do this.", ()),
    404: ("There is no such event, or no such route here.", ()),
    409: ("The idempotency key came with other events.", ()),
    413: ("The body, or an event in it, is too large, or there are too many.", ()),
    414: ("The first line is too long.", ()),
    415: ("A body of another kind, or compressed in another way.", ()),
    421: ("The server is not known by that name.", ()),
    431: ("A header is too long.", ()),
    500: ("What is stored is damaged, or the server failed.", ()),
    503: ("The store cannot work now, or there is too much to do.", ("Retry-After",)),
    507: ("The disk is full. Reading goes on.", ("Retry-After",)),
}
#: Those that any request may meet.
_ALWAYS: Final = (400, 401, 413, 414, 421, 431, 500, 503)
READ: Final[list[Json]] = [{"read_token": []}, {}]
WRITE: Final[list[Json]] = [{"write_token": []}, {}]


def _headers(*names: str) -> Json:
    return {name: ref("headers", name) for name in ("X-Request-Id", *names)}


def _error(status: int) -> Json:
    description, headers = _ERRORS[status]
    return {
        "description": description,
        "headers": _headers(*headers),
        "content": {_JSON: {"schema": schema("Error")}},
    }


def found(description: str, content: Json, *headers: str) -> Json:
    """An answer: its schemas by content type, and the headers that it has beside the id."""
    kinds = {kind: {"schema": of} for kind, of in content.items()}
    return {"description": description, "headers": _headers(*headers), "content": kinds}


_UNCHANGED: Final[Json] = {"description": "It is as before.", "headers": _headers("ETag")}


def operation(
    name: str,
    summary: str,
    curl: str,
    answer: Json,
    *,
    tag: str = "Events",
    status: int = 200,
    more: tuple[int, ...] = (),
    parameters: tuple[str, ...] = (),
    security: list[Json] = READ,
    sick: Json | None = None,
    unchanged: bool = False,
    **other: Any,
) -> Json:
    """An operation.

    Args:
        name: its id.
        summary: what it is for.
        curl: how to try it: what comes after the word `curl`, with `@` for the server; or nothing.
        answer: the answer when all is well.
        tag: the group that it is one of.
        status: that answer's.
        more: statuses of failures beside those that any request may meet.
        parameters: the names of its parameters.
        security: the tokens that it takes; none where it is open to all.
        sick: the answer 503, where it is another one than usual.
        unchanged: whether it may say 304.
        other: further members.
    """
    failures = sorted({*_ALWAYS, *more} - (set() if security else {401}))
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "security": security,
        "parameters": [ref("parameters", each) for each in (*parameters, "request_id")],
        **other,
        "responses": {
            str(status): answer,
            **{str(each): ref("responses", str(each)) for each in failures},
            **({"304": _UNCHANGED} if unchanged else {}),
            **({} if sick is None else {"503": sick}),
        },
        **({"x-codeSamples": [_sample(curl)]} if curl else {}),
    }


def _sample(curl: str) -> Json:
    return {"lang": "Shell", "source": f"curl {curl.replace('@', SERVER)}"}


def with_head(get: Json) -> Json:
    """GET, and HEAD, which is answered in the same way without a body."""
    left_out = ("x-codeSamples", "operationId", "responses")
    head = {name: value for name, value in get.items() if name not in left_out}
    head["operationId"] = f"{get['operationId']}_head"
    head["tags"] = ["HEAD"]
    head["summary"] = f"{get['summary']} Without the body."
    head["responses"] = {}
    for status, answer in get["responses"].items():
        whole = RESPONSES[status] if "$ref" in answer else answer
        head["responses"][status] = {
            name: value for name, value in whole.items() if name != "content"
        }
    return {"get": get, "head": head}


#: The failures as components.
RESPONSES: Final[Json] = {str(status): _error(status) for status in _ERRORS}
