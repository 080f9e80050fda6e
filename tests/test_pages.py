"""What the pages of browsers may do: forms of foreign origins, and leave for named ones."""

from __future__ import annotations

import pytest

from kpiggybank.web.access import Access
from kpiggybank.web.bounds import LIMITS
from tests.callers import EVENT, PAGE, ask, bearer, tokens
from tests.web_client import FORM, ROOT, Answer, Door


class TestPages:
    """What the pages of browsers may do."""

    def door(self, *origins: str, reads: bool = False, write: str = "", read: str = "") -> Door:
        """An interface that pages of these origins may use."""
        return Door(access=Access(tokens(write, read), origins, reads))

    def preflight(self, door: Door, origin: str, method: str = "POST") -> Answer:
        """Ask as a browser does before the request that its page wants to make."""
        return ask(door, "OPTIONS", ROOT, Origin=origin, Access_Control_Request_Method=method)

    def post_form(self, door: Door, **headers: str) -> int:
        """The status of a form that a browser sends."""
        return door.post(b"data=" + EVENT, FORM, **headers).status

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": ""},
            {"Origin": "http://localhost:8080"},
            {"Origin": "http://127.0.0.1:3000.evil.example"},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Origin": "null", "Sec_Fetch_Site": "cross-site"},
            {"Origin": "http://127.0.0.1:3000", "Sec_Fetch_Site": "cross-site"},
        ],
    )
    def test_foreign_form(self, headers: dict[str, str]) -> None:
        """A form from the page of a foreign origin is refused, and nothing is stored."""
        door = self.door()
        assert self.post_form(door, **headers) == 403
        assert door.get("/count").body == b"0"

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Origin": "http://127.0.0.1:3000"},
            {"Origin": "https://127.0.0.1:3000"},
            {"Origin": "http://127.0.0.1:3000", "Sec_Fetch_Site": "same-origin"},
            {"Origin": "null", "Sec_Fetch_Site": "same-origin"},
            {"Origin": "https://kpi.example", "Sec_Fetch_Site": "same-origin"},
            {"Sec_Fetch_Site": "none"},
        ],
    )
    def test_own_form(self, headers: dict[str, str]) -> None:
        """A page of ours, perhaps behind a proxy, and what is no page at all, may post."""
        assert self.post_form(self.door(), **headers) == 201

    def test_foreign_json(self) -> None:
        """The same goes for other bodies, should a browser ever send one."""
        answer = ask(self.door(), "POST", ROOT, Origin="https://evil.example")
        assert (answer.status, answer.value["error"]) == (403, "forbidden")
        assert "CORS_ORIGINS" in answer.reason

    def test_default(self) -> None:
        """By itself no page of another origin gets leave, or an answer."""
        door = self.door()
        assert self.preflight(door, PAGE).status == 403
        answer = ask(door, "GET", ROOT, Origin=PAGE)
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert "vary" not in answer.headers

    def test_leave_to_post(self) -> None:
        """A named origin's page may post: its browser is told so, and shows it the answer."""
        door = self.door("https://other.example", PAGE)
        leave = self.preflight(door, PAGE)
        assert (leave.status, leave.body) == (204, b"")
        assert leave.headers["access-control-allow-origin"] == PAGE
        assert leave.headers["access-control-allow-methods"] == "POST"
        sent = leave.headers["access-control-allow-headers"].lower().split(", ")
        wanted = {"content-type", "authorization", "idempotency-key", "content-encoding"}
        assert wanted <= set(sent)
        assert int(leave.headers["access-control-max-age"]) > 0
        assert leave.headers["vary"] == "Origin"
        assert "content-length" not in leave.headers
        answer = ask(door, "POST", ROOT, Origin=PAGE, Sec_Fetch_Site="cross-site")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (201, PAGE)
        assert self.post_form(door, Origin=PAGE) == 201

    def test_others_get_no_leave(self) -> None:
        """The others get none, and each answer says that it depends on who asks."""
        door = self.door(PAGE)
        for origin in ("https://evil.example", f"{PAGE}.evil.example", f"{PAGE}:8443", "null"):
            answer = self.preflight(door, origin)
            assert answer.status == 403
            assert "access-control-allow-origin" not in answer.headers
            assert self.post_form(door, Origin=origin) == 403
        assert ask(door, "GET", ROOT).headers["vary"] == "Origin"

    def test_no_leave_to_read(self) -> None:
        """Who may post may not read, unless that is told, too."""
        answer = ask(self.door(PAGE), "GET", ROOT, Origin=PAGE)
        assert "access-control-allow-origin" not in answer.headers

    def test_leave_to_read(self) -> None:
        """Then ranges and streams are shown to the page, with what it needs to go on."""
        door = self.door(PAGE, reads=True)
        leave = self.preflight(door, PAGE, "GET")
        assert leave.headers["access-control-allow-methods"] == "GET, HEAD, POST"
        answer = ask(door, "GET", ROOT, Origin=PAGE)
        assert answer.headers["access-control-allow-origin"] == PAGE
        told = answer.headers["access-control-expose-headers"].split(", ")
        assert {"Link", "KPIggyBank-Cursor"} <= set(told)
        stream = door.stream(Origin=PAGE)
        assert stream.headers["access-control-allow-origin"] == PAGE
        door.leave(stream)

    def test_leave_takes_no_token(self) -> None:
        """A browser asks for leave without one; what the page does then takes it."""
        door = self.door(PAGE, write="w", read="r")
        assert self.preflight(door, PAGE).status == 204
        answer = ask(door, "POST", ROOT, Origin=PAGE)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, PAGE)
        assert ask(door, "POST", ROOT, Origin=PAGE, **bearer("w")).status == 201

    def test_two_origins(self) -> None:
        """No browser says two."""
        request = (
            b"POST /wsapi/interaction_data HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
            b"Origin: https://kpi.example\r\nOrigin: https://kpi.example\r\n\r\n"
        )
        assert self.door(PAGE).raw(request).startswith(b"HTTP/1.1 403 ")

    def test_options_of_no_page(self) -> None:
        """OPTIONS that asks for no leave is a method that no route has."""
        assert ask(self.door(PAGE), "OPTIONS", ROOT).status == 405
        assert ask(self.door(PAGE), "OPTIONS", ROOT, Origin=PAGE).status == 405

    def test_what_is_refused_before_it_is_read(self) -> None:
        """A named page is shown also why its body is refused while that is still on its way."""
        request = (
            b"POST /wsapi/interaction_data HTTP/1.1\r\nHost: localhost\r\n"
            b"Origin: https://kpi.example\r\nContent-Length: %d\r\n\r\n"
        )
        answer = self.door(PAGE).raw(request % (LIMITS.body_bytes + 1))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.lower().count(b"access-control-allow-origin: https://kpi.example\r\n") == 1
