"""Short answers, and which failure is which status."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from math import inf

import attrs
import msgspec
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from kpiggybank.events import ExcessiveEvent, InvalidEvent
from kpiggybank.interfaces import (
    EventNotFound,
    IdConflict,
    InvalidCursor,
    StoreDamaged,
    StoreFull,
    StoreUnavailable,
)
from kpiggybank.web.formats import JSON
from kpiggybank.web.query import BadQuery
from kpiggybank.words import one_line

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}

#: After how long a client that got 503 or 507 may try again.
RETRY_AFTER_SECONDS = 2

#: The header that says what a browser may do with an answer; a page brings its own.
POLICY = b"Content-Security-Policy"
#: In the head of each answer, whoever writes it. What is here is for programs: if a browser is led
#: to it, it shall neither guess at it, nor run or frame it, nor tell others where it was.
COMMON_HEADERS = (
    (b"Server", b"KPIggyBank"),
    (b"X-Content-Type-Options", b"nosniff"),
    (POLICY, b"default-src 'none'; frame-ancestors 'none'"),
    (b"Referrer-Policy", b"no-referrer"),
)
#: The same as lines, each with its end.
COMMON_HEAD = b"".join(b"%b: %b\r\n" % header for header in COMMON_HEADERS)
#: The same without the policy, for an answer that has one among its own headers.
PAGE_HEAD = b"".join(b"%b: %b\r\n" % header for header in COMMON_HEADERS if header[0] != POLICY)

#: An outage is in the log once in so many seconds, not once a request.
COMPLAINT_SECONDS = 10.0

_log = Logger()


@attrs.define(eq=False)
class Complaints:
    """Says of requests that the store failed, at once and then now and then."""

    _clock: Callable[[], float] = time.monotonic
    _said: float = -inf
    _count: int = 0

    def add(self, reason: str) -> None:
        """Count one more, and perhaps say it."""
        self._count += 1
        if self._clock() - self._said >= COMPLAINT_SECONDS:
            text = "the store is unavailable: {reason} (refused since the last line: {count})"
            _log.warn(text, count=self._count, reason=one_line(reason))
            self._said, self._count = self._clock(), 0


_complaints = Complaints()


class UnsupportedMediaType(Exception):
    """A body of a kind that is not taken; the text is one line."""


class TooLarge(Exception):
    """A body that has more bytes than it may; the text is one line."""


class Overloaded(Exception):
    """More is waiting for the store than it takes; the text is one line."""


def error_body(error: str, reason: str) -> bytes:
    """The body of every answer that is an error."""
    return msgspec.json.encode({"error": error, "reason": reason})


def answer(request: Request, body: bytes, status: int = 200, content_type: bytes = JSON) -> bytes:
    """Set the head of a short answer and return its body."""
    request.setResponseCode(status, _PHRASES[status])
    request.setHeader(b"Content-Type", content_type)
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body


def refuse(request: Request, status: int, error: str, reason: str) -> bytes:
    """An error as an answer."""
    return answer(request, error_body(error, reason), status)


def answer_failure(request: Request, failure: Failure) -> bytes:
    """The answer for a request that failed before its answer had begun."""
    match failure.value:
        case ExcessiveEvent() | TooLarge() as error:
            return refuse(request, 413, "too_large", str(error))
        case InvalidEvent() | BadQuery() | InvalidCursor() as error:
            return refuse(request, 400, "bad_request", str(error))
        case EventNotFound() as error:
            return refuse(request, 404, "not_found", str(error))
        case IdConflict() as error:
            return refuse(request, 409, "conflict", str(error))
        case UnsupportedMediaType() as error:
            return refuse(request, 415, "unsupported_media_type", str(error))
        case StoreDamaged() as error:
            _log.warn("{reason}", reason=one_line(str(error)))
            return refuse(request, 500, "damaged", str(error))
        case StoreFull() as error:
            request.setHeader(b"Retry-After", b"%d" % RETRY_AFTER_SECONDS)
            _complaints.add(str(error))
            return refuse(request, 507, "insufficient_storage", str(error))
        case StoreUnavailable() as error:
            request.setHeader(b"Retry-After", b"%d" % RETRY_AFTER_SECONDS)
            _complaints.add(str(error))
            return refuse(request, 503, "unavailable", str(error))
        case Overloaded() as error:
            request.setHeader(b"Retry-After", b"%d" % RETRY_AFTER_SECONDS)
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
