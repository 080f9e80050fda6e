"""What the site says of itself in each answer."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from kpiggybank.web import site
from tests.web_client import Door


def test_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer tells the second in which it was made."""
    door = Door()
    for seconds in (1_700_000_000.1, 1_700_000_000.9, 1_700_000_001.0, 1_600_000_000.0):
        monkeypatch.setattr(site, "time", lambda now=seconds: now)
        date = door.request("GET", "/wsapi/ping").headers["date"]
        assert parsedate_to_datetime(date).timestamp() == int(seconds)


def test_what_serves() -> None:
    """Each answer names the server's software, errors included."""
    for path in ("/wsapi/ping", "/nothing"):
        assert Door().request("GET", path).headers["server"].startswith("TwistedWeb/")


def test_server_as_a_whole() -> None:
    """`OPTIONS *` asks for no route, and is answered as twisted.web answers it."""
    assert Door().raw(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200 ")
