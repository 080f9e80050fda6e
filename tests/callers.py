"""Requests with tokens, and those of the pages of browsers."""

from __future__ import annotations

from hashlib import sha256

from kpiggybank.tokens import Tokens
from tests.web_client import JSON, Answer, Door

EVENT = b'{"timestamp":1}'
PAGE = "https://kpi.example"


def tokens(write: str = "", read: str = "") -> Tokens:
    """Tokens in force, each list with spaces between them."""

    def digests(text: str) -> tuple[bytes, ...]:
        return tuple(sha256(token.encode()).digest() for token in text.split())

    return Tokens(digests(write), digests(read))


def ask(door: Door, method: str, path: str, **headers: str) -> Answer:
    """Make a request, if need be with an event; the names of headers have `_` for `-`."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if method == "POST":
        fields.setdefault("Content-Type", JSON)
    return door.request(method, path, EVENT if method == "POST" else b"", fields)


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {token}"}
