"""The promise of the client's stream, kept through whatever chance brings."""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.client_stage import Stage, line


@pytest.mark.parametrize("seed", range(30))
def test_any_interleaving(stage: Stage, seed: int) -> None:
    """Whatever connections go through, and however slow we are, each change is told in order."""
    chance = random.Random(seed)
    journal = [line(str(number)) for number in range(1, 61)]
    slow: list[Deferred[None]] = []
    said = 0  # of the journal, on this connection
    cut = False

    def dawdle(change: Any) -> Deferred[None] | None:
        if chance.random() < 0.7:
            return None
        slow.append(Deferred())
        return slow[-1]

    def go_on_reading() -> None:
        if slow:
            slow.pop().callback(None)

    def say() -> None:
        nonlocal said
        new = b"".join(journal[said : said + chance.randrange(6)])
        said += new.count(b"\r\n")
        place = chance.randrange(len(new) + 1)
        stage.say(new[:place], new[place:], b"\r\n" * chance.randrange(2))

    def lose() -> None:
        nonlocal cut
        stage.say(journal[said][: chance.randrange(9)] if said < len(journal) else b"")
        stage.cut()
        cut = True

    def connect() -> None:
        nonlocal cut, said
        if slow:  # it has yet to find out
            return
        stage.server.answers = [(503, b"")] * chance.randrange(2)
        refused = len(stage.server.answers)
        stage.wait()
        if not refused:
            stage.say(b"")
            said, cut = int(stage.asked_since()[-1]), False

    stage.api.on("change", dawdle)
    stage.follow(since="0")
    while len(stage.changes) < len(journal):
        steps = [go_on_reading, connect] if cut else [go_on_reading, say, say, say, lose]
        chance.choice(steps)()
    for waiting in slow:
        waiting.callback(None)
    assert stage.sequences() == [str(number) for number in range(1, 61)]
    assert stage.errors == []
