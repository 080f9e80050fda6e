"""The client's way to the server: one request, one checked answer, within its time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar

import attrs
import msgspec
from twisted.internet.defer import Deferred, DeferredSemaphore, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from kpiggybank.outgoing.bodies import read_body
from kpiggybank.outgoing.places import request_url
from kpiggybank.shield import plainly_cancelled
from kpiggybank.words import one_line

_TOKEN = re.compile("[!-~]+")

#: Where the events are, behind a server's URL.
EVENTS = "/wsapi/interaction_data"

T = TypeVar("T")
_SECONDS = re.compile("[0-9]{1,9}")

#: Requests under way at once; further ones wait for their turn. Without a limit, a loop over a
#: thousand events would open a thousand sockets, which is all that a process usually may have.
REQUESTS_AT_ONCE = 64

#: Bytes read of an error's body, and characters of it shown if it is not the documented JSON.
ERROR_BODY_BYTES = 64 * 2**10
EXCERPT_CHARACTERS = 200

#: What a server asks for is believed up to an hour: more must be a mistake.
RETRY_AFTER_SECONDS = 3600.0


class RequestFailed(Exception):
    """The server did not do what it was asked, or its answer is not what it should be.

    Attributes:
        status: of the HTTP answer; 200 or 201 if only what it brought is wrong.
        error: the kind of mistake, in a few words.
        reason: the explanation for people; may be empty.
        retry_after: seconds after which the server wants to be asked again; 0 if it did not say.
    """

    def __init__(self, status: int, error: str, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(status, error, reason)
        self.status = status
        self.error = error
        self.reason = reason
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.status} {self.error}" + (f": {self.reason}" if self.reason else "")


class _ErrorBody(msgspec.Struct):
    """The documented body of an error."""

    error: str
    reason: str


@attrs.define(eq=False)
class Wire:
    """Makes requests of one server and takes nothing but the expected for an answer.

    Args:
        url: what all paths are put behind; without a slash at its end.
        treq: an object with the method `request` of `treq.client.HTTPClient`.
        clock: counts the time limits.
        timeout: seconds without an answer, or without a byte of its body, after which to give up.
        headers: of every request.
    """

    url: str
    _treq: Any = attrs.field(repr=False)
    _clock: IReactorTime = attrs.field(repr=False)
    _timeout: float
    _headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    _turns: DeferredSemaphore = attrs.field(init=False, repr=False)

    @_turns.default
    def _so_many(self) -> DeferredSemaphore:
        return DeferredSemaphore(REQUESTS_AT_ONCE)

    async def fetch(
        self, kind: type[T], what: str, method: str, path: str, status: HTTPStatus, **options: Any
    ) -> T:
        """Make a request when it is its turn, and decode the JSON that it brings.

        Args:
            kind: the type to decode to; `what` is its name for people.
            what: see kind.
            method: of HTTP.
            path: behind the URL.
            status: the only one that is a success.
            options: more for treq: `params`, `headers`, `data`.

        Raises:
            RequestFailed: another status, a body that was cut or is not of that kind.
            TimeoutError: silence for too long.
        """
        await self._turns.acquire()
        try:
            response = await self.head(method, path, status, **options)
            body = await self._body(response)
        finally:
            self._turns.release()
        try:
            return msgspec.json.decode(body, type=kind)
        except (ValueError, RecursionError) as error:
            raise RequestFailed(status, "wrong answer", f"it is not {what}: {error}") from None

    async def head(
        self,
        method: str,
        path: str,
        status: HTTPStatus,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> IResponse:
        """Make a request at once and return its answer with the body yet to come; see `fetch`."""
        url = self.url + path
        # No redirects: they would turn a POST into a GET, or lead elsewhere unnoticed.
        asked: Deferred[IResponse] = self._treq.request(
            method,
            request_url(url),
            unbuffered=True,
            allow_redirects=False,
            reactor=self._clock,
            headers={**self._headers, **(headers or {})},
            **options,
        )
        # Otherwise a request that was given up would look like one that was lost, and be repeated.
        request = plainly_cancelled(asked)
        response = await request.addTimeout(self._timeout, self._clock, _no_answer)
        if response.code != status:
            body = await read_body(response, self._clock, self._timeout, ERROR_BODY_BYTES)
            raise _request_failed(response, body)
        return response

    async def _body(self, response: IResponse) -> bytes:
        try:
            return await read_body(response, self._clock, self._timeout)
        except (ResponseFailed, PotentialDataLoss):
            reason = "the connection was cut in the middle of it"
            raise RequestFailed(response.code, "incomplete answer", reason) from None


def _no_answer(result: object, seconds: float) -> NoReturn:
    # Whatever the layers below made of the cancelling: each says it with another error.
    raise TimeoutError(f"no answer within {seconds:g} seconds")


def token_headers(token: str | None) -> dict[str, str]:
    """What shows a token in the head of a request; raises ValueError, which does not tell it."""
    if token is None:
        return {}
    if not _TOKEN.fullmatch(token):
        raise ValueError("a token is visible ASCII, without a space or the end of a line")
    return {"Authorization": f"Bearer {token}"}


def where_params(where: Sequence[str]) -> list[tuple[str, str]]:
    """The parameters of a request for events of which something is true."""
    if isinstance(where, str):
        raise TypeError("where is a list of texts like 'path:value', not one of them")
    return [("where", each) for each in where]


def header_of(response: IResponse, name: str) -> str | None:
    """A header of an answer; the last one, if there are several."""
    values: list[str | None] = response.headers.getRawHeaders(name) or [None]
    return values[-1]


def _retry_after(response: IResponse) -> float:
    asked = header_of(response, "Retry-After") or ""
    # The other form, a date, would take clocks that agree; nothing is lost with asking too early.
    return min(float(asked), RETRY_AFTER_SECONDS) if _SECONDS.fullmatch(asked) else 0.0


def _request_failed(response: IResponse, body: bytes) -> RequestFailed:
    seconds = _retry_after(response)
    try:
        answer = msgspec.json.decode(body, type=_ErrorBody)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace")[: 4 * EXCERPT_CHARACTERS]
        excerpt = one_line(text)[:EXCERPT_CHARACTERS]
        phrase = one_line(response.phrase.decode("latin-1")) or "error"
        return RequestFailed(response.code, phrase, excerpt, seconds)
    error, reason = one_line(answer.error), one_line(answer.reason)
    return RequestFailed(response.code, error, reason, seconds)
