"""The files of the live page, as they are served."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from kpiggybank.bank import Bank
from kpiggybank.stores.memory import MemoryStore
from kpiggybank.web.access import Access
from kpiggybank.web.description import operations
from kpiggybank.web.pages import PAGE, Pages
from kpiggybank.web.site import BankSite
from kpiggybank.web.wsapi import WsApi
from tests.callers import tokens

FOLDER = Path(__file__).parent.parent / "kpiggybank" / "web" / "page"
OURS = sorted(path for path in FOLDER.iterdir() if path.is_file())


def ask(
    path: str, method: str = "GET", head: str = "", access: Access | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    """Ask a site with the page: the status, the head and the body of its answer."""
    api = WsApi(Bank(MemoryStore(), Clock()), Clock(), 60.0)
    site: Any = BankSite(Pages(api.resource), Clock(), access=access)
    connection = site.buildProtocol(None)
    transport = StringTransport()
    connection.makeConnection(transport)
    connection.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
    first, _, body = transport.value().partition(b"\r\n\r\n")
    status, *lines = first.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def test_page() -> None:
    """The page is HTML with a policy that lets nothing of others in, and no script within."""
    status, head, body = ask("/")
    assert (status, head["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in head["Content-Security-Policy"]
    assert "unsafe" not in head["Content-Security-Policy"]
    text = body.decode()
    assert re.findall(r"<script[^>]*>(?!</script>)|<style| style=| on[a-z]+=", text) == []
    assert re.findall(r'(?:src|href)="(?!page/|docs"|#)', text) == []


def test_page_tells_of_the_api() -> None:
    """All that has an example in the description is in the page, with it, and the right token."""
    page = ask("/")[2].decode()
    text = re.sub(r'<span class="with-token" hidden>.*?</span>', "", page)
    known = list(operations())
    assert known
    for each in known:
        assert escape(each.summary) in text and escape(each.curl) in text
        shown = rf"Bearer \${each.token}&quot;</span>" if each.token else "curl"
        assert re.search(shown + re.escape(escape(each.curl.removeprefix("curl"))), page)


@pytest.mark.parametrize("path", PAGE)
def test_files(path: str) -> None:
    """Each file has its type, is asked for again each time, and then need not be sent again."""
    status, head, body = ask(path)
    kinds = {"js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
    kinds |= {"css": "text/css; charset=utf-8", "/": "text/html; charset=utf-8"}
    assert status == 200 and body
    assert head["Content-Type"] == kinds[path.rpartition(".")[2]]
    assert head["Cache-Control"] == "no-cache"
    without = ask(path, "HEAD")
    assert (without[0], without[1].keys(), without[2]) == (200, head.keys(), b"")
    assert without[1]["Content-Length"] == str(len(body))
    again = ask(path, head=f"If-None-Match: {head['ETag']}\r\n")
    assert (again[0], again[2]) == (304, b"")


def test_other_methods_and_paths() -> None:
    """The page is only read; what is not a file of it is the API's business."""
    status, head, _ = ask("/", "POST", "Content-Length: 0\r\n")
    assert (status, head["Allow"]) == (405, "GET, HEAD")
    assert ask("/page/nothing.js")[0] == 404
    assert ask("/page/../pages.py")[0] == 404
    assert ask("/page/index.html")[0] == 404
    assert ask("/wsapi/ping")[2] == b"pong"


def test_no_token_for_the_page() -> None:
    """The page comes without a token, what it asks for does not."""
    access = Access(tokens("writer", "reader"))
    assert {ask(path, access=access)[0] for path in PAGE} == {200}
    assert ask("/wsapi/interaction_data/count", access=access)[0] == 401


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_short_and_without_html(path: Path) -> None:
    """No file is above 300 lines, and no script makes HTML of a text."""
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
