"""HTTP to one database of a CouchDB: one checked answer, within its time."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.web.client import Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.outgoing.bodies import BytesProducer, read_body
from kpiggybank.outgoing.connections import LOST, Connections
from kpiggybank.shield import plainly_cancelled
from kpiggybank.words import one_line

#: Bytes of an answer at the most, and unused connections kept.
ANSWER_BYTES = 32 * 2**20
CONNECTIONS_KEPT = 32

T = TypeVar("T")
_JSON = "application/json"
encode = msgspec.json.Encoder().encode


class Refused(StoreUnavailable):
    """CouchDB does not let us in, or do that; trying again will not help.

    Attributes:
        status: of its answer, if that was the refusal.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class AnswerTooLarge(StoreUnavailable):
    """An answer has more than `ANSWER_BYTES`."""


@attrs.frozen
class Limits:
    """How long CouchDB may take, in seconds."""

    connect: float
    answer: float
    total: float


class _Explained(msgspec.Struct):
    """The body of an answer that is an error."""

    error: str = ""
    reason: str | None = ""


@attrs.define(eq=False)
class Server:
    """One database of a CouchDB.

    Every request may be repeated: documents have their ids before they are sent. So one whose
    connection dies before any answer is made once more; an unused connection may be closed by the
    other side at any moment.

    Attributes:
        url: of the database, without credentials.
        place: that of the server, for people.
        patience: seconds that a request may take in all.
        on_missing: is called when something is not there that should be.

    Args:
        reactor: for connections and time limits.
        place: the URL of the server, without a slash at its end.
        name: of the database.
        user: an empty one means no authentication.
        password: of that user.
        limits: of every request.
    """

    _reactor: Any = attrs.field(repr=False)
    place: str
    _name: str
    _user: str = attrs.field(repr=False)
    _password: str = attrs.field(repr=False)
    _limits: Limits
    url: str = attrs.field(init=False)
    patience: float = attrs.field(init=False)
    on_missing: Callable[[], None] | None = attrs.field(default=None, init=False)
    _headers: Headers = attrs.field(init=False, repr=False)
    _connections: Connections = attrs.field(init=False, repr=False)
    _agent: Agent = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.url = f"{self.place}/{quote(self._name, safe='')}"
        self.patience = self._limits.total
        self._headers = Headers({"Accept": [_JSON], "Content-Type": [_JSON]})
        if self._user:
            login = b64encode(f"{self._user}:{self._password}".encode()).decode()
            self._headers.setRawHeaders("Authorization", [f"Basic {login}"])
        self._connections = Connections(self._reactor, CONNECTIONS_KEPT)
        # Not treq, which always asks for gzip: a compressed feed comes when some buffer is full.
        self._agent = Agent(
            self._reactor, connectTimeout=self._limits.connect, pool=self._connections
        )

    async def ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        query: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        expected: Collection[int] = (200,),
    ) -> tuple[int, T | None]:
        """Make a request: the status of its answer, and what it brings.

        Args:
            method: of HTTP.
            path: behind the database's URL, encoded; empty or beginning with a slash.
            kind: the type to decode the JSON of status 200 and 201 to; None for other statuses.
            query: parameters, as values that are sent as JSON; a text is sent as it is.
            body: JSON.
            expected: the statuses to be returned.

        Raises:
            Refused: CouchDB said 4xx, and it was not expected.
            AnswerTooLarge: the answer was given up.
            StoreUnavailable: no answer in time, or any other status.
        """
        asked = Deferred.fromCoroutine(self._ask(method, path, query, body, expected))
        status, content = await asked.addTimeout(self.patience, self._reactor, self._too_slow)
        if status not in (200, 201):
            return status, None
        try:
            return status, msgspec.json.decode(content, type=kind)
        except (ValueError, RecursionError) as error:
            raise StoreUnavailable(
                f"CouchDB at {self.place} gave no whole answer: {error}"
            ) from None

    async def stream(self, path: str, query: Mapping[str, Any]) -> IResponse:
        """Open a continuous answer, whose body is to be delivered; fails as `ask` does."""
        response = await self._request("GET", path, query, None)
        if response.code != 200:
            await self._fail(response)
        return response

    def close(self) -> Deferred[None]:
        """Cut all connections; fires when they are gone."""
        return self._connections.close()

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: bytes | None,
        expected: Collection[int],
    ) -> tuple[int, bytes]:
        try:
            response = await self._request(method, path, query, body)
        except _NoAnswer:
            response = await self._request(method, path, query, body)
        if response.code not in expected:
            await self._fail(response)
        content = await self._read(response, ANSWER_BYTES)
        if len(content) == ANSWER_BYTES:
            raise AnswerTooLarge(f"an answer of CouchDB has more than {ANSWER_BYTES} bytes")
        return response.code, content

    async def _request(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: bytes | None
    ) -> IResponse:
        url = f"{self.url}{path}"
        if query:
            url += "?" + "&".join(f"{name}={_parameter(value)}" for name, value in query.items())
        producer = None if body is None else BytesProducer(body)
        request = plainly_cancelled(
            self._agent.request(method.encode(), url.encode(), self._headers, producer)
        )
        try:
            return await request.addTimeout(self._limits.answer, self._reactor, self._too_slow)
        except LOST as error:
            raise _NoAnswer(f"no CouchDB at {self.place}: {_told(error)}") from None

    async def _fail(self, response: IResponse) -> NoReturn:
        status = response.code
        content = await self._read(response, 4096)
        try:
            explained = msgspec.json.decode(content, type=_Explained)
        except (ValueError, RecursionError):
            explained = _Explained()
        if status in (401, 403):
            raise Refused(
                f"CouchDB at {self.place} refuses the login or the right to do this ({status});"
                " DB_USER and DB_PASS take those of an admin, or of a member where all is set up",
                status,
            )
        words = one_line(f"{explained.error} {explained.reason or ''}")
        said = f"CouchDB at {self.place} said {status} {words}".rstrip()
        if 400 <= status < 500 and status not in (404, 408, 409, 412, 429):
            raise Refused(said, status)
        if status == 404 and self.on_missing is not None:
            self.on_missing()
        raise StoreUnavailable(said)

    def _read(self, response: IResponse, limit: int) -> Deferred[bytes]:
        return read_body(response, self._reactor, self._limits.answer, limit)

    def _too_slow(self, result: object, seconds: float) -> NoReturn:
        raise StoreUnavailable(f"CouchDB at {self.place} gave no answer within {seconds:g} s")


class _NoAnswer(StoreUnavailable):
    """There was no connection, or it died before any answer."""


def _parameter(value: Any) -> str:
    text = value if isinstance(value, str) else encode(value).decode()
    return quote(text, safe="")


def _told(error: Exception) -> str:
    """An error of Twisted in one line; some of them hold a list of others."""
    for reason in getattr(error, "reasons", None) or ():
        return _told(reason.value)
    return one_line(str(error)) or type(error).__name__
