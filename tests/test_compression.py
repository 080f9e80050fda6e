"""Bodies that come compressed: expanded up to the limit, and no further."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpiggybank.web.answers import TooLarge
from kpiggybank.web.bounds import Limits
from kpiggybank.web.compression import gunzip
from kpiggybank.web.query import BadQuery
from tests.web_client import FORM, Door, form_of

LIMIT = 1000
EVENT = b'{"timestamp":1}'


def small_door() -> Door:
    """A door through which bodies of 1000 bytes go."""
    return Door(limits=Limits(body_bytes=LIMIT))


@pytest.mark.parametrize("name", ["gzip", "GZIP", "x-gzip"])
def test_event(name: str) -> None:
    """A compressed event is an event like any other."""
    door = Door()
    assert door.post(gzip.compress(EVENT), Content_Encoding=name).status == 201
    assert door.get().body == b"[%b]" % EVENT


def test_form() -> None:
    """So is a compressed form."""
    door = Door()
    assert door.post(gzip.compress(form_of(EVENT)), FORM, Content_Encoding="gzip").status == 201
    assert door.get().body == b"[%b]" % EVENT


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 201), (LIMIT + 1, 413), (10**7, 413)])
def test_expanded_size(size: int, status: int) -> None:
    """It is the expanded size that is limited."""
    body = gzip.compress(EVENT + b" " * (size - len(EVENT)))
    answer = small_door().post(body[:LIMIT], Content_Encoding="gzip")
    if status == 413 and size > 10**6:
        answer = Door(limits=Limits(body_bytes=20_000)).post(body, Content_Encoding="gzip")
    assert answer.status == status
    if status == 413:
        assert answer.value["error"] == "too_large"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        EVENT,
        zlib.compress(EVENT),
        gzip.compress(EVENT)[:-1],
        gzip.compress(EVENT)[:12],
        gzip.compress(EVENT) + b"garbage",
        gzip.compress(EVENT) + b"\0",
        gzip.compress(EVENT)[:-5] + b"\0" * 5,
        gzip.compress(b"") * 100,
    ],
)
def test_no_gzip(body: bytes) -> None:
    """What is no gzip, is cut short, or is followed by something else is 400, in plain words."""
    answer = Door().post(body, Content_Encoding="gzip")
    assert answer.status == 400
    assert "gzip" in answer.reason


def test_other_encodings() -> None:
    """Others are not known, nor is one within the other."""
    for name in ("br", "deflate", "gzip, gzip"):
        answer = Door().post(gzip.compress(EVENT), Content_Encoding=name)
        assert answer.status == 415
        assert "gzip" in answer.reason


@given(st.binary(max_size=300_000), st.lists(st.integers(0, 300_000), max_size=5))
def test_parts(plain: bytes, cuts: list[int]) -> None:
    """Several parts, one after the other, are one body."""
    places = [0, *sorted(cuts), len(plain) + 300_000]
    body = b"".join(gzip.compress(plain[begin:end], 1) for begin, end in pairwise(places))
    assert b"".join(gunzip(body, len(plain))) == plain
    if plain:
        with pytest.raises(TooLarge):
            list(gunzip(body, len(plain) - 1))


@given(st.binary(max_size=1000))
def test_any_bytes(body: bytes) -> None:
    """Any bytes are gzip, or are refused."""
    with suppress(BadQuery):
        assert b"".join(gunzip(body, 10**6)) == gzip.decompress(body)


def test_bomb() -> None:
    """A body that expands a thousand times costs no more than the limit."""
    limit = 2**20
    bomb = gzip.compress(bytes(200 * limit), 9)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            list(gunzip(bomb, limit))
        assert tracemalloc.get_traced_memory()[1] < 3 * limit
    finally:
        tracemalloc.stop()
