"""Where tokens are told."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kpiggybank.plugin import Options
from kpiggybank.tokens import MAX_FILE_BYTES, TokenSource, TokenSources
from kpiggybank.values import ConfigError


def digests(*tokens: str) -> tuple[bytes, ...]:
    """What is kept of tokens."""
    return tuple(sha256(token.encode()).digest() for token in tokens)


def source(path: Path, *given: str) -> TokenSource:
    """A source with this file."""
    return TokenSource(given, "WRITE_TOKEN_FILE", str(path))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("one", ["one"]),
        ("one\n", ["one"]),
        ("\ufeffone\n", ["one"]),
        ("one\r\n", ["one"]),
        ("one\n\n\n", ["one"]),
        ("one\ntwo\n", ["one", "two"]),
        ("one, two ,three", ["one", "two", "three"]),
        (" one \n\ttwo\t\n", ["one", "two"]),
        ("one,\ntwo,\n", ["one", "two"]),
        ("one\none\n", ["one"]),
        ("r3ad+/=._~#'\"", ["r3ad+/=._~#'\""]),
    ],
)
def test_file(text: str, tokens: list[str], tmp_path: Path) -> None:
    """By line or comma, with what editors and people put around them."""
    path = tmp_path / "tokens"
    path.write_bytes(text.encode())
    assert source(path).read() == digests(*tokens)


def test_both(tmp_path: Path) -> None:
    """What the file has comes to what is told beside it."""
    path = tmp_path / "tokens"
    path.write_text("two\none\n")
    assert source(path, "one").read() == digests("one", "two")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\n", b" \n,\n"),
        *(b"s3cret s3cret", b"s3cret\x00", b"s3cret\xff", b"s3cr\xc3\xa9t"),
        b"s3cret\n" * MAX_FILE_BYTES,
    ],
)
def test_file_that_has_none(content: bytes, tmp_path: Path) -> None:
    """A file that has no tokens, or what cannot be one, is named, and nothing in it is told."""
    path = tmp_path / "tokens"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="WRITE_TOKEN_FILE") as caught:
        source(path).read()
    assert str(path) in str(caught.value)
    assert "s3cr" not in str(caught.value).replace(str(path), "")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["none", ".", "none\nor so", "none\x00"])
def test_file_that_is_none(path: str, tmp_path: Path) -> None:
    """So is one that cannot be read, in one line."""
    with pytest.raises(ConfigError, match="WRITE_TOKEN_FILE") as caught:
        source(tmp_path / path).read()
    assert "cannot be read" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pipe(tmp_path: Path) -> None:
    """What is no file is not waited for."""
    path = tmp_path / "tokens"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="is no file"):
        source(path).read()


def test_nothing_is_shown() -> None:
    """No source shows its tokens."""
    sources = TokenSources(
        TokenSource(("s3cret",), "WRITE_TOKEN_FILE", ""),
        TokenSource(("s3cret",), "READ_TOKEN_FILE", ""),
    )
    assert "s3cret" not in repr(sources)
    assert bool(sources.tokens())


def test_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--help` names the settings, and shows no token that is set."""
    for name in ("WRITE_TOKEN", "READ_TOKEN"):
        monkeypatch.setenv(name, "s3cret")
    options: Any = Options
    text = options().getUsage()
    assert "READ_TOKEN" in text
    assert "s3cret" not in text
