"""What the site says of itself in each answer."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from twisted.logger import LogEvent

from kpiggybank.web import site, wsapi
from kpiggybank.web.answers import POLICY, answer
from kpiggybank.web.routes import Routes
from tests.web_client import Door


def test_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer tells the second in which it was made."""
    door = Door()
    for seconds in (1_700_000_000.1, 1_700_000_000.9, 1_700_000_001.0, 1_600_000_000.0):
        monkeypatch.setattr(site, "time", lambda now=seconds: now)
        date = door.request("GET", "/wsapi/ping").headers["date"]
        assert parsedate_to_datetime(date).timestamp() == int(seconds)


HEADERS = {
    "server": "KPIggyBank",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /wsapi/ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD /wsapi/ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /wsapi/ping/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"DELETE /wsapi/ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /wsapi/interaction_data/stream HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /wsapi/interaction_data/stream HTTP/1.0\r\n\r\n",
    ],
)
def test_headers_of_each_answer(request_bytes: bytes) -> None:
    """Each answer tells browsers what not to do with it, and names us without a version, once."""
    head = Door().raw(request_bytes).partition(b"\r\n\r\n")[0].decode()
    lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
    found = [(name.lower(), value) for name, _, value in lines if name.lower() in HEADERS]
    assert sorted(found) == sorted(HEADERS.items())


@pytest.mark.parametrize("path", ["/wsapi/ping", "/wsapi/ping/"])
def test_policy_of_a_page(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that brings a policy of its own has that one, once, and all else as others."""

    def with_policy(request: Any, body: bytes, **more: bytes) -> bytes:
        request.setHeader(POLICY, b"default-src 'self'")
        return answer(request, body, 200, **more)

    monkeypatch.setattr(wsapi, "answer", with_policy)
    head = Door().raw(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode()).decode()
    lines = [line.partition(": ") for line in head.partition("\r\n\r\n")[0].split("\r\n")[1:]]
    found = [(name.lower(), value) for name, _, value in lines if name.lower() in HEADERS]
    own = {"content-security-policy": "default-src 'self'"}
    assert sorted(found) == sorted((HEADERS | own).items())


def test_headers_of_an_answer_that_failed(
    logged_errors: list[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does the answer of twisted.web itself to a mistake of ours, which tells nothing of it."""
    door = Door()
    monkeypatch.setattr(Routes, "render", lambda self, request: 1 / 0)
    answer = door.request("GET", "/wsapi/ping")
    assert answer.status == 500
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert b"Zero" not in answer.body
    logged_errors.clear()


def test_server_as_a_whole() -> None:
    """`OPTIONS *` asks for no route, and is answered as twisted.web answers it."""
    assert Door().raw(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200 ")
