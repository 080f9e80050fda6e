"""Events that are too large, too deep or too many: refused before they cost time or memory."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from urllib.parse import quote

import pytest

from kpiggybank import parsing
from kpiggybank.events import Deposit, EventLimits, ExcessiveEvent, InvalidEvent
from kpiggybank.rules import LIMITS, PIECE_BYTES, deeper
from tests.reading import from_form, from_json, from_lines, quickly, thoroughly

#: The greatest body, and what may be needed beside it and what it is split into.
BODY_BYTES = 8 * 2**20
SPARE_BYTES = 16 * 2**20

SMALL = EventLimits(event_bytes=60, depth=4, events=5)
EVENT = b'{"timestamp":1}'


def event_of(size: int) -> bytes:
    """An event of so many bytes."""
    return b'{"timestamp":1,"x":"%b"}' % (b"x" * (size - 22))


def repeated(item: bytes, size: int = BODY_BYTES) -> bytes:
    """A list of the same again and again, of about so many bytes."""
    return b"[%b]" % b",".join([item] * ((size - 2) // (len(item) + 1)))


def in_form(body: bytes, limits: EventLimits) -> Deposit:
    """Read a body as the field of a form."""
    return from_form(b"data=" + body, limits)


WAYS = pytest.mark.parametrize("read", [from_json, in_form, thoroughly])


@WAYS
def test_size(read: Callable[[bytes, EventLimits], Deposit]) -> None:
    """An event of the limit is taken, alone and in a list; one byte more is not."""
    assert read(event_of(60), SMALL).single
    assert len(read(b"[%b,%b]" % (EVENT, event_of(60)), SMALL).texts) == 2
    with pytest.raises(ExcessiveEvent, match="event 0 is too large: an event may have 60 bytes"):
        read(event_of(61), SMALL)
    with pytest.raises(ExcessiveEvent, match="event 1 is too large"):
        read(b"[%b,%b]" % (EVENT, event_of(61)), SMALL)


@WAYS
def test_white_space_does_not_count(read: Callable[[bytes, EventLimits], Deposit]) -> None:
    """The limit is for what is kept."""
    spaced = event_of(60).replace(b",", b" , " * 1 + b" " * 100)
    assert read(spaced, SMALL).single
    assert len(read(b"[%b]" % spaced, SMALL).texts) == 1


@WAYS
def test_number(read: Callable[[bytes, EventLimits], Deposit]) -> None:
    """As many as may be are taken, one more is not, in nested lists either."""
    assert len(read(b"[%b]" % b",".join([EVENT] * 5), SMALL).texts) == 5
    for body in (
        b"[%b]" % b",".join([EVENT] * 6),
        b"[[%b],%b]" % (b",".join([EVENT] * 5), EVENT),
        b"[[%b]]" % b",".join([EVENT] * 6),
        b"[%b]" % b",".join([b"[]"] * 6),
    ):
        with pytest.raises(ExcessiveEvent, match="event 5 is one too many"):
            read(body, SMALL)


@WAYS
def test_depth(read: Callable[[bytes, EventLimits], Deposit]) -> None:
    """As deep as may be is taken, wherever else there are brackets; one level more is not."""
    good = b'{"timestamp":1,"x":[[[]],[[],[]]],"y":"[[[[[["}'
    bad = b'{"timestamp":1,"x":[[[[]]]]}'
    assert read(good, SMALL).single
    assert len(read(b"[%b,%b]" % (good, EVENT), SMALL).texts) == 2
    with pytest.raises(InvalidEvent, match="event 0 is nested deeper than 4 levels"):
        read(bad, SMALL)
    with pytest.raises(InvalidEvent, match="event 2 is nested deeper than 4 levels"):
        read(b"[%b,%b,%b]" % (EVENT, good, bad), SMALL)


@pytest.mark.parametrize("levels", [65, 1_000, 100_000])
def test_index_of_any_depth(levels: int) -> None:
    """What is too deep even to be decoded is found all the same."""
    deep = b'{"timestamp":1,"x":%b%b}' % (b"[" * levels, b"]" * levels)
    with pytest.raises(InvalidEvent, match="event 2 is nested deeper than 64 levels"):
        from_json(b'[{"timestamp":1,"a":["[",{}]},%b,%b]' % (EVENT, deep))


def test_lines() -> None:
    """Lines are held to the same."""
    assert len(from_lines(b"\n".join([event_of(60)] * 5), SMALL).texts) == 5
    with pytest.raises(ExcessiveEvent, match="event 1 is too large"):
        from_lines(b"%b\n\n%b" % (EVENT, event_of(61)), SMALL)
    with pytest.raises(ExcessiveEvent, match="event 5 is one too many"):
        from_lines(b"\n".join([EVENT] * 6), SMALL)


@pytest.mark.parametrize(
    "item",
    [
        EVENT,
        event_of(999),
        b'{"timestamp":1,"x":"' + b"\xf0\x9f\x98\x80" * 200 + b'"}',
        b'{"timestamp":1,"x":[{"a":1},{"a":1}]}',
        b'{"timestamp":1,"x":"},{"}',
        b'{"timestamp":1,"x":"' + b"},{" * 5000 + b'"}',
    ],
)
def test_pieces(item: bytes) -> None:
    """A list that is read in pieces is the same list, wherever it could be cut."""
    body = repeated(item, 5 * PIECE_BYTES)
    limits = EventLimits(events=100_000)
    assert from_json(body, limits) == thoroughly(body, limits)
    assert b",".join(from_json(body, limits).texts) == body[1:-1]


def test_large_lists_are_quick() -> None:
    """A list of many usual events is read in the quick way."""
    assert quickly(repeated(event_of(999), 5 * PIECE_BYTES)) is not None


@pytest.mark.parametrize(
    "text", ["x", "é", "\N{PILE OF POO}", '"', "\\", "\n", "\x00", ",", "x" * 19]
)
def test_long_text_in_data(text: str) -> None:
    """A text in `data` is read in pieces, and none of its characters is cut."""
    events = [{"timestamp": 1, "x": text * (20_000 // len(text))} for _ in range(30)]
    for ascii_only in (True, False):
        inner = json.dumps(events, ensure_ascii=ascii_only)
        body = json.dumps({"data": inner}, ensure_ascii=ascii_only).encode()
        assert [json.loads(kept) for kept in from_json(body).texts] == events


@pytest.mark.parametrize("shift", range(4))
def test_long_form(shift: int) -> None:
    """A long form is unquoted in pieces, and no escape is cut."""
    body = b'[{"timestamp":1,"x":"%b%b"}]' % (b"x" * shift, b"\xc3\xa9" * 100_000)
    quoted = "data=" + quote(body)
    assert from_form(quoted.encode()).texts == [body[1:-1]]


@pytest.mark.parametrize("unit", [b"%", b"%7", b"%zz", b"%7b", b"x", b"+x", b"%20x", b"="])
@pytest.mark.parametrize("begin", [b"", b"[", b"[[", EVENT[:-1], b"[" + EVENT[:-1]])
def test_forms_are_refused_soon(begin: bytes, unit: bytes) -> None:
    """Where a field is one event that is too large, it is not unquoted to its end."""
    body = b"data=" + begin + unit * ((BODY_BYTES - 30) // len(unit))
    steps = parsing.from_form(body)
    with pytest.raises(ExcessiveEvent, match="event 0 is too large"):
        for _ in range(BODY_BYTES // parsing._QUOTED_BYTES // 4):
            next(steps)


@pytest.mark.parametrize("begin", [b"", b"[", b"[[", b" [ [ "])
@pytest.mark.parametrize("spaces", [b"", b" " * 100_000])
def test_long_forms_at_the_limit(begin: bytes, spaces: bytes) -> None:
    """What is refused soon is too large for sure."""
    most = LIMITS.event_bytes
    end = begin.strip().replace(b"[", b"]").replace(b" ", b"")
    field = spaces + begin + b'{"timestamp":1,' + spaces
    assert from_form(b"data=" + field + event_of(most)[15:] + end).texts == [event_of(most)]
    with pytest.raises(ExcessiveEvent, match="event 0 is too large"):
        from_form(b"data=" + field + event_of(most + 1)[15:] + end)


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (from_json, repeated(b"[]")),
        (from_json, repeated(b"{}")),
        (from_json, repeated(b"1")),
        (from_json, repeated(b'{"a":1}')),
        (from_json, repeated(EVENT)),
        (from_json, repeated(event_of(800))),
        (from_json, b"[" * BODY_BYTES),
        (from_json, b'{"a":' * (BODY_BYTES // 5)),
        (from_json, b'{"timestamp":1,"x":%b}' % repeated(b"[]", BODY_BYTES - 20)),
        (from_json, b'[{"timestamp":1,"x":%b}]' % repeated(b"{}", BODY_BYTES - 22)),
        (from_json, b'{"data":%b}' % repeated(b"[]", BODY_BYTES - 9)),
        (from_json, b'{"data":"%b"}' % ("x" * (BODY_BYTES - 20) + "\N{PILE OF POO}").encode()),
        (from_json, b'{"timestamp":1,%b}' % b",".join(b'"%d":1' % i for i in range(700_000))),
        (from_json, b'[{"timestamp":1,%b}]' % b",".join(b'"%d":1' % i for i in range(700_000))),
        (from_form, b"data=" + repeated(EVENT, BODY_BYTES - 5)),
        (from_form, b"data=" + b"=" * (BODY_BYTES - 5)),
        (from_form, b"&data" * (BODY_BYTES // 5)),
        (from_lines, b"1\n" * (BODY_BYTES // 2)),
        (from_lines, b" \n" * (BODY_BYTES // 2)),
        (from_lines, (EVENT + b"\n") * (BODY_BYTES // 16)),
    ],
    ids=range(20),
)
def test_memory_of_what_is_refused(read: Callable[[bytes], Deposit], body: bytes) -> None:
    """Whatever fills a body, to refuse it takes little memory beside the body."""
    with pytest.raises(InvalidEvent):  # what is made only once is made now
        from_json(repeated(EVENT, BODY_BYTES // 8))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidEvent):
            read(body)
        assert tracemalloc.get_traced_memory()[1] < SPARE_BYTES
    finally:
        tracemalloc.stop()


def test_depth_costs_little() -> None:
    """To tell how deep an event is takes no longer where it is deep in many places."""
    seconds = []
    for item in (b"[]", b"[" * 60 + b"]" * 60):
        event = b'{"timestamp":1,"x":%b}' % repeated(item, 200_000)
        started = time.process_time()
        for _ in range(5):
            assert not deeper(event, 64)
        seconds.append(time.process_time() - started)
    flat, deep = seconds
    assert deep < 10 * flat  # level by level it took 40 times as long
