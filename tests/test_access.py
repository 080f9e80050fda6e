"""Who may do what: the tokens, and the names by which a server is called."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from hashlib import sha256

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from kpiggybank.web.access import Access, is_local, is_loopback, reaches_others
from kpiggybank.web.documents import DOCUMENTS
from kpiggybank.web.wsapi import WsApi
from tests.callers import ask, bearer, tokens
from tests.web_client import ROOT, Door

LOOPBACK = IPv4Address("TCP", "127.0.0.1", 3000)
WORLD = IPv4Address("TCP", "0.0.0.0", 3000)


def guarded(write: str = "", read: str = "") -> Door:
    """An interface that takes these tokens."""
    return Door(access=Access(tokens(write, read)))


def routes() -> Iterator[tuple[str, str]]:
    """Methods and paths of all that a bank can be asked, save what is open to all."""
    for rule in WsApi.app.url_map.iter_rules():
        for method in rule.methods or ():
            if not rule.rule.startswith("/__") and rule.rule not in DOCUMENTS:
                yield method, rule.rule


class TestTokens:
    """What a token opens."""

    @pytest.mark.parametrize(("method", "path"), sorted(set(routes())))
    def test_each_route(self, method: str, path: str) -> None:
        """A write token posts and pings, a read token does the rest, one in both lists all."""
        door = guarded("w both", "r both")
        may_write = method == "POST" or path == "/wsapi/ping"
        may_read = method != "POST"
        query = "?feed=normal&since=0" if path.endswith("/stream") else ""
        for token, may in (("w", may_write), ("r", may_read), ("both", True), ("other", False)):
            status = ask(door, method, path + query, **bearer(token)).status
            opened = (404,) if path == "/metrics" else (200, 201)  # there are none here
            assert (status in opened) is may, token
            assert (status == 401) is not may, token

    @pytest.mark.parametrize("path", [f"{ROOT}/", "/wsapi/interaction%5Fdata", "//wsapi/ping"])
    def test_other_spellings(self, path: str) -> None:
        """A path that is spelled in another way opens nothing more."""
        door = guarded("w", "r")
        assert ask(door, "GET", path, **bearer("w")).status == 401
        assert ask(door, "POST", path, **bearer("r")).status == 401
        assert ask(door, "DELETE", path, **bearer("r")).status == 401
        assert ask(door, "GET", f"{ROOT}/count", **bearer("r")).body == b"0"

    def test_ping_with_a_slash(self) -> None:
        """It is the same route to a token, too."""
        assert ask(guarded("w"), "GET", "/wsapi/ping/", **bearer("w")).status == 200

    @pytest.mark.parametrize("path", ["/__heartbeat__", "/__heartbeat__/"])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_signs_of_life(self, method: str, path: str) -> None:
        """They take no token, for a load balancer has none."""
        assert ask(guarded("w", "r"), method, path).status == 200

    def test_only_one_list(self) -> None:
        """Where one kind of token is told, the other kind of access is not open to everybody."""
        door = guarded("w")
        assert ask(door, "GET", ROOT).status == 401
        assert ask(door, "GET", ROOT, **bearer("w")).status == 401
        assert ask(guarded(read="r"), "POST", ROOT).status == 401

    def test_none(self) -> None:
        """Without any, all is open; one that is shown is not looked at."""
        door = guarded()
        assert ask(door, "POST", ROOT, **bearer("x")).status == 201
        assert ask(door, "GET", ROOT).status == 200

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            "Bearer  w w",
            "Bearer w,w",
            "Bearer wé",
            "Bearer W",
            "Token w",
            "w",
            "Basic " + base64.b64encode(b"w:w").decode(),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_refusal_is_always_the_same(self, method: str, value: str | None) -> None:
        """Whatever is wrong with the token, the answer is the same, and so for a wrong kind."""
        door = guarded("w", "r")
        headers = {} if value is None else {"Authorization": value}
        answer = ask(door, method, ROOT, **headers)
        usual = ask(door, "GET", ROOT, **bearer("w"))
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.body == usual.body
        assert answer.value["error"] == "unauthorized"
        assert "w" not in answer.reason.split()

    def test_shown_twice(self) -> None:
        """Two headers are none, even if both are right."""
        line = b"Authorization: Bearer r\r\n"
        request = b"GET /wsapi/ping HTTP/1.1\r\nHost: localhost\r\n%b\r\n"
        door = guarded("w", "r")
        assert door.raw(request % line).startswith(b"HTTP/1.1 200 ")
        assert door.raw(request % (line * 2)).startswith(b"HTTP/1.1 401 ")

    @pytest.mark.parametrize("value", ["bearer w", "BEARER w", "Bearer   w"])
    def test_spelling_of_the_scheme(self, value: str) -> None:
        """As HTTP has it: in any case, and with spaces."""
        assert ask(guarded("w"), "POST", ROOT, Authorization=value).status == 201

    @pytest.mark.parametrize("length", [b"Content-Length: 8000000", b"Transfer-Encoding: chunked"])
    def test_body_of_a_stranger(self, length: bytes) -> None:
        """Who may not post is told so before any of the body has come, and is not asked for it."""
        request = (
            b"POST /wsapi/interaction_data HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer r\r\nExpect: 100-continue\r\n%b\r\n\r\n"
        )
        head, _, body = guarded("w", "r").raw(request % length).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 ")
        assert b"WWW-Authenticate: Bearer" in head
        assert b"unauthorized" in body

    def test_route_that_is_none(self) -> None:
        """Only who may read learns what there is."""
        door = guarded("w", "r")
        assert ask(door, "GET", "/nothing").status == 401
        assert ask(door, "GET", "/nothing", **bearer("r")).status == 404

    def test_other_tokens(self) -> None:
        """Those in force may change, and a stream that is open goes on."""
        door = guarded("w", "r")
        stream = door.stream(**bearer("r"))
        assert door.access is not None
        door.access.use(tokens("new", "new"))
        assert ask(door, "GET", ROOT, **bearer("r")).status == 401
        assert ask(door, "POST", ROOT, **bearer("new")).status == 201
        door.flush()
        assert len(stream.changes()) == 1
        door.leave(stream)

    def test_not_shown(self) -> None:
        """Nothing that is printed has a token in it, nor what it could be found by."""
        access = Access(tokens("s3cret"))
        assert "s3cret" not in repr(access)
        assert sha256(b"s3cret").hexdigest()[:8] not in repr(access)
        assert repr(access.tokens) == "Tokens()"

    def test_all_are_compared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each token in force is looked at, whichever is the right one."""
        seen: list[bytes] = []

        def compare(one: bytes, other: bytes) -> bool:
            seen.append(other)
            return one == other

        monkeypatch.setattr("kpiggybank.tokens.compare_digest", compare)
        in_force = tokens("a b c", "d e")
        for token in (b"a", b"e", b"none"):
            seen.clear()
            in_force.may(token)
            assert seen == [*in_force.write, *in_force.read]


class TestHosts:
    """The names by which a server is called."""

    KNOWN = (
        "localhost",
        "localhost:3000",
        "LOCALHOST:1",
        "127.0.0.1",
        "127.8.8.8:80",
        "[::1]",
        "[::1]:3000",
        "127.0.0.1:",
    )
    UNKNOWN = (
        "evil.example",
        "evil.example:3000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "127.1",
        "localhost:80:80",
        "[::1",
        "::1",
        "user@localhost",
        "localhost, evil",
        "",
    )

    def door(self, address: IAddress, *names: str) -> Door:
        """An interface that listens there."""
        access = Access(names=names)
        access.listens_at(address)
        return Door(access=access)

    def status(self, door: Door, host: str, path: str = "/wsapi/ping") -> int:
        """The status of the answer to who calls us by this name."""
        raw = door.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return int(raw.split(b" ")[1])

    @pytest.mark.parametrize("host", KNOWN)
    def test_known_on_loopback(self, host: str) -> None:
        """A machine's names for itself are known, with any port."""
        assert self.status(self.door(LOOPBACK), host) == 200
        assert self.status(self.door(IPv6Address("TCP", "::1", 3000)), host) == 200

    @pytest.mark.parametrize("host", UNKNOWN)
    def test_unknown_on_loopback(self, host: str) -> None:
        """Any other name is how the page of a stranger would call us."""
        for path in ("/wsapi/ping", ROOT, "/__heartbeat__"):
            assert self.status(self.door(LOOPBACK), host, path) == 421

    def test_refusal(self) -> None:
        """It is formed as all errors are, and says what to do."""
        answer = ask(self.door(LOOPBACK), "POST", ROOT, Host="evil.example")
        assert (answer.status, answer.value["error"]) == (421, "misdirected_request")
        assert "ALLOWED_HOSTS" in answer.reason

    def test_post(self) -> None:
        """Nothing is stored by who calls us by a wrong name."""
        door = self.door(LOOPBACK)
        assert ask(door, "POST", ROOT, Host="evil.example").status == 421
        assert ask(door, "GET", f"{ROOT}/count").body == b"0"

    def test_further_names(self) -> None:
        """ALLOWED_HOSTS adds to those of a machine for itself; case and port don't count."""
        door = self.door(LOOPBACK, "KPI.example", "[fd00::1]")
        for host in ("kpi.example", "Kpi.Example:80", "[fd00::1]:3000", "localhost"):
            assert self.status(door, host) == 200
        assert self.status(door, "x.kpi.example") == 421

    def test_elsewhere(self) -> None:
        """At another address any name will do, unless there is a list of them."""
        assert self.status(self.door(WORLD), "anything") == 200
        door = self.door(WORLD, "kpi.example")
        assert self.status(door, "kpi.example:3000") == 200
        assert self.status(door, "localhost") == 421
        assert self.status(door, "10.0.0.7:3000", "/__heartbeat__") == 200

    def test_unix_socket(self) -> None:
        """No browser gets there, so that the name may be anything, or missing."""
        door = self.door(UNIXAddress("/run/kpi.sock"), "kpi.example")
        assert self.status(door, "anything") == 200
        assert door.raw(b"GET /wsapi/ping HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200 ")

    @pytest.mark.parametrize(
        ("head", "status"),
        [
            (b"HTTP/1.0\r\n", b"200"),
            (b"HTTP/1.1\r\n", b"400"),
            (b"HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", b"400"),
            (b"HTTP/1.0\r\nHost: evil.example\r\n", b"421"),
        ],
    )
    def test_no_name(self, head: bytes, status: bytes) -> None:
        """Each request says the name once, as HTTP/1.1 has it; before that, there was none."""
        raw = self.door(LOOPBACK).raw(b"GET /wsapi/ping %b\r\n" % head)
        assert raw.split(b" ")[1] == status

    def test_name_in_the_target(self) -> None:
        """A target that has a name beats the header."""
        request = b"GET http://evil.example/wsapi/ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert (
            Door(access=Access()).raw(request).startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
        )

    def test_until_it_listens(self) -> None:
        """Before it is known where we listen, only the names for oneself are taken."""
        assert self.status(Door(access=Access()), "anything") == 421

    @pytest.mark.parametrize(
        ("address", "local"),
        [
            (LOOPBACK, True),
            (IPv4Address("TCP", "127.9.9.9", 1), True),
            (IPv6Address("TCP", "::1", 1), True),
            (IPv6Address("TCP", "::ffff:127.0.0.1", 1), True),
            (UNIXAddress("/run/kpi.sock"), True),
            (UNIXAddress(None), True),
            (WORLD, False),
            (IPv4Address("TCP", "192.168.0.1", 1), False),
            (IPv6Address("TCP", "::", 1), False),
            (IPv6Address("TCP", "fe80::1%eth0", 1), False),
            (object(), False),
        ],
    )
    def test_where_only_this_machine_comes(self, address: IAddress, local: bool) -> None:
        """Loopback and Unix sockets; what is not known is not taken for one of them."""
        assert is_local(address) is local

    @pytest.mark.parametrize(
        ("host", "loopback", "others"),
        [
            ("localhost", True, False),
            ("::1", True, False),
            ("127.9.9.9", True, False),
            ("::", False, True),
            ("10.0.0.1", False, True),
            ("::ffff:10.0.0.1", False, True),
            ("kpi.example", False, False),
            ("localhost.evil.example", False, False),
            ("", False, False),
        ],
    )
    def test_what_a_text_tells(self, host: str, loopback: bool, others: bool) -> None:
        """An address tells whether it is for this machine only, a name does not, save one."""
        assert is_loopback(host) is loopback
        assert reaches_others(host) is others
