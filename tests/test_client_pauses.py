"""How long the client waits before it opens a lost stream again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.client_stage import Stage, line


def test_pauses_grow(stage: Stage) -> None:
    """The first pause is short, each is about twice as long as the one before, none above 30 s."""
    stage.follow()
    stage.cut()
    stage.server.answers = [(503, b"")] * 20
    pauses = [stage.wait() for _ in range(20)]
    wholes = [min(0.2 * 2**number, 30.0) for number in range(20)]
    assert all(whole / 2 <= pause <= whole for pause, whole in zip(pauses, wholes, strict=True))


def test_pauses_differ(stage: Stage) -> None:
    """Those who were cut off together do not come back together."""
    stage.follow()
    stage.cut()
    stage.server.answers = [(503, b"")] * 50
    assert len({stage.wait() for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "live", [lambda stage: stage.say(line("1")), lambda stage: stage.clock.advance(10)]
)
def test_pauses_begin_anew(stage: Stage, live: Callable[[Stage], None]) -> None:
    """A stream that brought a change, or was open for a while, makes the next pause a short one."""
    stage.follow()
    stage.cut()
    stage.server.answers = [(503, b"")] * 10
    for _ in range(10):
        stage.wait()
    stage.come_back()
    live(stage)
    stage.cut()
    assert stage.wait() <= 0.2


def test_pauses_of_a_stream_that_never_works(stage: Stage) -> None:
    """To be opened is no success yet: a server that cuts each stream at once is left in peace."""
    stage.follow()
    pauses = []
    for _ in range(12):
        stage.cut()
        pauses.append(stage.wait())
        stage.say(b"")
    assert pauses[-1] >= 15


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(stage: Stage, status: int) -> None:
    """The server's wish is the shortest pause, and is not kept for the next one."""
    stage.follow()
    stage.cut()
    stage.server.retry_after = "7"
    stage.server.answers = [(status, b"")]
    stage.wait()
    stage.server.retry_after = None
    stage.server.answers = [(503, b"")]
    assert 7 <= stage.wait() <= 8
    assert stage.wait() < 7


@pytest.mark.parametrize(
    ("wish", "most"), [("soon", 1), ("-5", 1), ("1e9", 1), ("", 1), ("9" * 9, 3601), ("9" * 99, 1)]
)
def test_strange_retry_after(stage: Stage, wish: str, most: float) -> None:
    """What is no number of seconds is ignored, and nobody is believed to mean years."""
    stage.follow()
    stage.cut()
    stage.server.retry_after = wish
    stage.server.answers = [(503, b"")]
    stage.wait()
    assert stage.wait() <= most
