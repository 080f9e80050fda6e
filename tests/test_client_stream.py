"""How the client reads the stream of changes, and how that ends."""

from __future__ import annotations

import pytest

from kpiggybank.client import (
    AlreadyFollowing,
)
from kpiggybank.outgoing.lines import LineCutter, LineTooLong
from tests.client_stage import LINE, Stage, failure_of, line, success_of


def test_follow_asks_for_the_stream(stage: Stage) -> None:
    """The stream is open, and only then, when the head of the answer is there."""
    opened = stage.api.followChanges()
    assert stage.server.requests[0].path == b"/wsapi/interaction_data/stream"
    assert stage.server.requests[0].args == {b"since": [b"now"], b"heartbeat": [b"15"]}
    assert not opened.called
    stage.say(b"")
    assert success_of(opened) is None


def test_changes_in_order(stage: Stage) -> None:
    """Changes are told as they came, complete; empty lines are nothing."""
    stage.follow()
    stage.say(b"\r\n", line("1", n=2**70), line("2") + b"\r\n" + line("3"), b"\r\n")
    assert stage.sequences() == ["1", "2", "3"]
    assert stage.changes[0] == {"seq": "1", "id": "id-1", "doc": {"timestamp": 0, "n": 2**70}}


@pytest.mark.parametrize("position", range(len(LINE) + 1))
def test_line_split_anywhere(stage: Stage, position: int) -> None:
    """A line may be cut into chunks anywhere, in the middle of a character too."""
    stage.follow()
    stage.say(LINE[:position], LINE[position:])
    assert [change["doc"]["mood"] for change in stage.changes] == ["🐷💰é"]


def test_line_byte_by_byte(stage: Stage) -> None:
    """Lines in chunks of a byte each arrive whole."""
    stage.follow()
    stage.say(*[bytes([byte]) for byte in LINE * 2])
    assert stage.sequences() == ["s1", "s1"]


def test_many_lines_at_once(stage: Stage) -> None:
    """A chunk of many lines is many changes."""
    stage.follow()
    stage.say(b"".join(line(str(each)) for each in range(1000)))
    assert stage.sequences() == [str(each) for each in range(1000)]


def test_changes_that_come_with_the_head(stage: Stage) -> None:
    """A change in the same packet as the head of the answer is not lost."""
    stage.api.on("change", stage.changes.append)
    opened = stage.api.followChanges()
    stage.server.requests[0].write(LINE)
    stage.say(LINE)
    success_of(opened)
    assert stage.sequences() == ["s1", "s1"]


def test_follow_twice(stage: Stage) -> None:
    """There is one stream: following again fails and leaves the first one alone."""
    stage.follow()
    assert "already" in str(failure_of(stage.api.followChanges(), AlreadyFollowing))
    stage.say(LINE)
    assert stage.sequences() == ["s1"]


def test_follow_twice_while_opening(stage: Stage) -> None:
    """A stream that is being opened counts as well."""
    opened = stage.api.followChanges()
    failure_of(stage.api.followChanges(), AlreadyFollowing)
    stage.say(b"")
    success_of(opened)


def test_farewell(stage: Stage) -> None:
    """The server's farewell says where to go on, and nobody waits for more."""
    stage.follow()
    gone = stage.server.requests[0].notifyFinish()
    stage.say(LINE, b'{"last_seq":"s9"}\r\n')
    assert str(stage.lost()) == "the server ended the stream (cursor s9)"
    failure_of(gone, Exception)


def test_end_without_farewell(stage: Stage) -> None:
    """The end of the answer without a farewell says so, with the last change's cursor."""
    stage.follow()
    stage.say(LINE)
    stage.finish()
    assert str(stage.lost()) == "the server ended the stream without a farewell (cursor s1)"


def test_cut_stream(stage: Stage) -> None:
    """A cut connection is told once, and half a line is no change."""
    stage.follow()
    stage.say(LINE + LINE[:20])
    stage.cut()
    assert (stage.lost().reason, stage.lost().cursor) == ("the connection was cut", "s1")
    assert stage.sequences() == ["s1"]


def test_silence(stage: Stage) -> None:
    """45 seconds without a byte end the connection."""
    stage.follow()
    gone = stage.server.requests[0].notifyFinish()
    stage.clock.advance(44.9)
    assert stage.told("disconnected") == []
    stage.clock.advance(0.1)
    assert stage.lost().reason == "nothing came for 45 seconds"
    stage.stub.flush()
    failure_of(gone, Exception)


def test_heartbeats(stage: Stage) -> None:
    """Heartbeats keep a quiet stream open."""
    stage.follow()
    for _ in range(10):
        stage.clock.advance(44.9)
        stage.say(b"\r\n")
    assert stage.told("disconnected") == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"no JSON",
        b"\xff",
        b"[" * 100_000,
        b"12",
        b"{}",
        b'{"seq":1,"id":"i","doc":{}}',
        b'{"seq":"1","id":"i","doc":[]}',
        b'{"last_seq":null}',
        b'{"reset":null,"reason":"text"}',
        b'{"reset":"s1"}',
    ],
)
def test_garbage(stage: Stage, garbage: bytes) -> None:
    """A line that is no change ends the stream: going on could leave a gap without a word."""
    stage.follow()
    gone = stage.server.requests[0].notifyFinish()
    stage.say(LINE + garbage + b"\r\n" + LINE)
    assert f"a line of {len(garbage)} bytes is" in stage.ended().reason
    assert (stage.ended().cursor, stage.sequences()) == ("s1", ["s1"])
    assert stage.told("disconnected") == [stage.ended()]
    failure_of(gone, Exception)


def test_follow_again_after_the_end(stage: Stage) -> None:
    """When a stream has ended, even from within the `error` callback, it can be opened anew."""
    stage.follow()
    stage.api.on("error", lambda error: stage.api.followChanges())
    stage.say(b"garbage\r\n")
    stage.say(LINE)
    assert (len(stage.server.requests), stage.sequences()) == (2, ["s1"])


def test_line_ends() -> None:
    """LF and CR LF end a line, other CRs belong to it, and what is no line yet waits."""
    cutter = LineCutter()
    assert list(cutter.cut(b"a\r\nb\n\r\nc\rd\r")) == [b"a", b"b", b""]
    assert list(cutter.cut(b"\nrest")) == [b"c\rd"]


def test_line_limit() -> None:
    """Too long a line ends the cutting, after the lines before it, however it comes."""
    for pieces in ([b"a\n1234567890"], [b"a\n", b"12345", b"67890"], [b"a\n1234567890\n"]):
        cutter = LineCutter(9)
        lines: list[bytes] = []
        with pytest.raises(LineTooLong):
            for piece in pieces:
                # One by one: extend() would drop what came before the error.
                for each in cutter.cut(piece):
                    lines.append(each)
        assert lines == [b"a"]


def test_line_limit_ends_the_stream(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that never ends ends the stream."""
    stage.follow()
    stage.say(LINE, *[b"x" * 2**20] * 16)
    assert stage.errors == []
    stage.say(b"x")
    assert stage.ended().reason == f"a line has more than {2**24} bytes"
