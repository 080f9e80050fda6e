"""Short answers, and which failure is which status."""

from __future__ import annotations

import msgspec
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from kpiggybank.events import InvalidEvent
from kpiggybank.interfaces import EventNotFound, IdConflict, InvalidCursor, StoreUnavailable
from kpiggybank.web.formats import JSON
from kpiggybank.web.query import BadQuery

#: After how long a client that got 503 may try again.
RETRY_AFTER_SECONDS = 2

_log = Logger()


class UnsupportedMediaType(Exception):
    """A body of a kind that is not taken; the text is one line."""


def error_body(error: str, reason: str) -> bytes:
    """The body of every answer that is an error."""
    return msgspec.json.encode({"error": error, "reason": reason})


def answer(request: Request, body: bytes, status: int = 200, content_type: bytes = JSON) -> bytes:
    """Set the head of a short answer and return its body."""
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", content_type)
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body


def refuse(request: Request, status: int, error: str, reason: str) -> bytes:
    """An error as an answer."""
    return answer(request, error_body(error, reason), status)


def answer_failure(request: Request, failure: Failure) -> bytes:
    """The answer for a request that failed before its answer had begun."""
    match failure.value:
        case InvalidEvent() | BadQuery() | InvalidCursor() as error:
            return refuse(request, 400, "bad_request", str(error))
        case EventNotFound() as error:
            return refuse(request, 404, "not_found", str(error))
        case IdConflict() as error:
            return refuse(request, 409, "conflict", str(error))
        case UnsupportedMediaType() as error:
            return refuse(request, 415, "unsupported_media_type", str(error))
        case StoreUnavailable() as error:
            request.setHeader(b"Retry-After", b"%d" % RETRY_AFTER_SECONDS)
            _log.warn("the store is unavailable: {reason}", reason=str(error))
            return refuse(request, 503, "unavailable", str(error))
        case MethodNotAllowed() as error:
            allowed = ", ".join(sorted(error.valid_methods or ()))
            request.setHeader(b"Allow", allowed.encode())
            return refuse(request, 405, "method_not_allowed", f"this route takes {allowed}")
        case HTTPException():
            return refuse(request, 404, "not_found", "there is no such route")
        case _:
            _log.failure("a request failed", failure)
            return refuse(request, 500, "internal_error", "the server failed; its log says how")
