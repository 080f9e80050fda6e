"""Who may make a request: which tokens, which pages of browsers, and by which name of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import attrs
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress

from kpiggybank.tokens import Tokens
from kpiggybank.web.answers import refuse
from kpiggybank.web.documents import DOCUMENTS
from kpiggybank.web.pages import PAGE

#: The signs of life of which a machine may always ask.
SIGNS_OF_LIFE = ("/__heartbeat__", "/__lbheartbeat__", "/__version__")
#: How long a browser may remember what pages of an origin may do.
PREFLIGHT_SECONDS = 7200
#: Names of ours, right or wrong, that are remembered.
NAMES_KNOWN = 256

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]+)(?::[0-9]*)?")
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([!-~]+)")
_READING = frozenset((b"GET", b"HEAD"))
_SENT = b"Content-Type, Authorization, Idempotency-Key, Content-Encoding"
_TOLD = b"Link, KPIggyBank-Cursor, Retry-After, X-Request-Id"


def _spellings(*paths: str) -> frozenset[bytes]:
    """These paths, with and without a slash at the end, which is the same to the routes."""
    return frozenset(path.encode() + slash for path in paths for slash in (b"", b"/"))


_OPEN = _spellings(*SIGNS_OF_LIFE)
#: What takes no token: also the description of all that does, and the pages that ask for one.
_WITHOUT_TOKEN = _OPEN | _spellings(*DOCUMENTS, *PAGE)
_PING = _spellings("/wsapi/ping")


def is_local(address: IAddress) -> bool:
    """Whether only this machine can reach an address at which we listen."""
    if isinstance(address, UNIXAddress):
        return True
    return is_loopback(getattr(address, "host", ""))


def is_loopback(host: str) -> bool:
    """Whether this is an address, or the name, of a machine for itself."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def reaches_others(host: str) -> bool:
    """Whether this is an address that is not only for this machine; of a name, nobody knows yet."""
    address = _address(host)
    return address is not None and not address.is_loopback


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _as_bytes(texts: Iterable[str]) -> frozenset[bytes]:
    return frozenset(text.encode() for text in texts)


def _in_lower_case(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(text.lower() for text in texts)


@attrs.define(eq=False)
class Access:
    """Decides of each request whether it may be made at all.

    Until it is told where we listen, it knows only the names that a machine has for itself.

    Args:
        tokens: those in force. Without any, all may do all; otherwise what none of them allows is
            not allowed.
        origins: the pages of these may post, and see the answers.
        pages_read: whether they may read as well.
        names: by which we may be called, in addition to those of a machine for itself.
    """

    tokens: Tokens = attrs.field(factory=Tokens)
    _origins: frozenset[bytes] = attrs.field(default=(), converter=_as_bytes)
    _pages_read: bool = False
    _names: frozenset[str] = attrs.field(default=(), converter=_in_lower_case)
    _loopback: bool = attrs.field(default=True, init=False)
    #: Whether a `Host` is ours; None where it may be anything.
    _is_ours: Callable[[bytes], bool] | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._is_ours = self._remembered()

    def use(self, tokens: Tokens) -> None:
        """Go by other tokens from now on; answers that have begun go on."""
        self.tokens = tokens

    def listens_at(self, address: IAddress) -> None:
        """Know by which names we may be called: at the address at which we listen now."""
        self._loopback = is_local(address)
        anything = isinstance(address, UNIXAddress) or not (self._loopback or self._names)
        self._is_ours = None if anything else self._remembered()

    def _remembered(self) -> Callable[[bytes], bool]:
        return lru_cache(NAMES_KNOWN)(self._is_known)

    def _is_known(self, host: bytes) -> bool:
        match = _HOST.fullmatch(host.decode("latin-1").lower())
        if match is None:
            return False
        name = match[1]
        return name in self._names or (self._loopback and is_loopback(name.strip("[]")))

    def check(self, request: Any) -> bytes | None:
        """The body of the answer to a request that may not be made; None where it may be.

        Args:
            request: a `BankRequest` whose head has arrived. The head of its answer is set, in part
                where it may be made.
        """
        fields = request.fields.get
        if self._is_ours is not None:
            body = self._check_name(request, fields, self._is_ours)
            if body is not None:
                return body
        origin = fields(b"Origin")
        reads = request.method in _READING
        if origin is not None or self._origins or not reads:
            body = self._check_page(request, fields, origin or (), reads)
            if body is not None:
                return body
        if self.tokens and not (reads and request.path in _WITHOUT_TOKEN):
            return self._check_token(request, fields, reads)
        return None

    def _check_name(
        self, request: Any, fields: Any, is_ours: Callable[[bytes], bool]
    ) -> bytes | None:
        """The answer to who calls us by a name that is not ours."""
        host = fields(b"Host", ())
        # Who knows only HTTP/1.0 is no browser, and it is browsers that are led astray.
        if len(host) != 1 and (host or request.clientproto != b"HTTP/1.0"):
            return refuse(request, 400, "bad_request", "there is not one 'Host'")
        if not host or is_ours(host[0]):
            return None
        # A load balancer asks for signs of life by address. On loopback, no other machine does.
        if not self._loopback and request.path in _OPEN:
            return None
        reason = "this server is not known by that 'Host'; ALLOWED_HOSTS adds names"
        return refuse(request, 421, "misdirected_request", reason)

    def _check_token(self, request: Any, fields: Any, reads: bool) -> bytes | None:
        """The answer to who shows no token that allows this: the same whatever is wrong with it."""
        given = fields(b"Authorization", ())
        match = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
        may_write, may_read = self.tokens.may(match[1]) if match else (False, False)
        if (may_read if reads else may_write) or (may_write and request.path in _PING):
            return None
        request.setHeader(b"WWW-Authenticate", b"Bearer")
        return refuse(request, 401, "unauthorized", "this takes a token that allows it")

    def _check_page(
        self, request: Any, fields: Any, origin: Collection[bytes], reads: bool
    ) -> bytes | None:
        """The answer to a request that the page of another origin may not make, or asks leave for.

        It comes from one, perhaps, if it has an `Origin` or if it changes something.
        """
        named = len(origin) == 1 and self._origins.issuperset(origin)
        if self._origins:
            request.setHeader(b"Vary", b"Origin")
        if named and (self._pages_read or not reads):
            request.setHeader(b"Access-Control-Allow-Origin", *origin)
            request.setHeader(b"Access-Control-Expose-Headers", _TOLD)
        if reads:
            return None  # without the header above, no page gets the answer
        asks = fields(b"Access-Control-Request-Method") is not None
        if named and asks and request.method == b"OPTIONS":
            methods, sent = b"POST", _SENT
            if self._pages_read:
                methods, sent = b"GET, HEAD, POST", b"%b, Last-Event-ID" % _SENT
            request.setHeader(b"Access-Control-Allow-Methods", methods)
            request.setHeader(b"Access-Control-Allow-Headers", sent)
            request.setHeader(b"Access-Control-Max-Age", b"%d" % PREFLIGHT_SECONDS)
            request.setResponseCode(204)
            return b""
        if not named and _is_foreign(request, fields, origin):
            reason = "pages of this origin may not do this; CORS_ORIGINS names those that may"
            return refuse(request, 403, "forbidden", reason)
        return None


def _is_foreign(request: Any, fields: Any, origin: Collection[bytes]) -> bool:
    """Whether a browser sends this for the page of another origin."""
    # It says so itself, unless it is an old one, or speaks to us without TLS over a network.
    site = fields(b"Sec-Fetch-Site")
    if site is not None:
        return site not in ([b"same-origin"], [b"none"])
    if not origin:
        return False  # no browser, or none that could be told from other programs
    own = [each.lower() for each in fields(b"Host", ())]
    pages = [each.lower() for each in origin]
    if request.isSecure():
        return pages != [b"https://" + each for each in own]
    # There may be somebody before us who speaks TLS for us.
    return [each.partition(b"://")[2] for each in pages] != own
