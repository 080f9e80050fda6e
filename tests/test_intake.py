"""Bodies that take long to read: one at a time, and with turns of the reactor between."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.web.test.requesthelper import DummyChannel

from kpiggybank.events import InvalidEvent
from kpiggybank.web.answers import TooLarge
from kpiggybank.web.bounds import LIMITS
from kpiggybank.web.intake import AT_ONCE_BYTES, Intake
from kpiggybank.web.request import BankRequest
from tests.client_stage import failure_of
from tests.web_client import JSON, result_of

EVENT = b'{"timestamp":1}'
FORM = "application/x-www-form-urlencoded"
LARGE = EVENT + b" " * (2 * AT_ONCE_BYTES)


class Turns(Clock):
    """A clock that goes on by a second a turn: what is to happen at once happens in the next."""

    def callLater(self, delay: float, callable: Any, *args: Any, **keywords: Any) -> Any:
        """Call something in a later turn."""
        return super().callLater(delay or 1, callable, *args, **keywords)


@attrs.define(eq=False)
class Desk:
    """An intake, and what was handed in."""

    clock: Clock = attrs.field(factory=Turns)
    intake: Intake = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.intake = Intake(self.clock)

    def take(self, body: bytes, *, packed: bool = False, kind: str = JSON) -> Any:
        """What becomes of a body."""
        channel: Any = DummyChannel()
        request: Any = BankRequest(channel, False)  # type: ignore[no-untyped-call]
        request.fields = {b"Content-Type": [kind.encode()]}
        if packed:
            request.fields[b"Content-Encoding"] = [b"gzip"]
        request.content = BytesIO(gzip.compress(body) if packed else body)
        return self.intake.read(request)

    def turns(self) -> Iterator[int]:
        """Let one turn of the reactor after the other pass, as long as something is to be done."""
        turn = 0
        while self.clock.getDelayedCalls():
            turn += 1
            self.clock.advance(1)
            yield turn


@pytest.mark.parametrize("packed", [False, True])
def test_small_body(packed: bool) -> None:
    """It is read at once."""
    desk = Desk()
    assert desk.take(EVENT, packed=packed).texts == [EVENT]
    assert not desk.clock.getDelayedCalls()


def test_one_at_a_time() -> None:
    """Each large body has a turn of its own at the least; a small one need not wait."""
    desk = Desk()
    packed = [desk.take(LARGE, packed=True) for _ in range(2)]
    plain = [desk.take(LARGE) for _ in range(2)]
    done = []
    for turn in desk.turns():
        assert desk.take(EVENT).texts == [EVENT]
        done.append(sum(deposit.called for deposit in packed + plain))
        assert turn < 100
    assert max(after - before for before, after in pairwise(done)) == 1
    # 2 MiB come in eight pieces of 256 KiB.
    assert done.index(1) + 1 >= 8
    assert [result_of(deposit).texts for deposit in packed + plain] == [[EVENT]] * 4


def listed(event: bytes, size: int) -> bytes:
    """A list of that event again and again, about so many bytes."""
    return b"[%b]" % b",".join([event] * (size // (len(event) + 1)))


def holding(item: bytes, size: int) -> bytes:
    """An event of so many bytes, full of such items."""
    return b'{"timestamp":1,"a":%b}' % listed(item, size - 20)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (listed(holding(b"1E300", 100_000), 900_000), JSON),
        (listed(holding(b"1" * 4300, 100_000), 900_000), JSON),
        (listed(holding(b"{}", 200), 900_000), JSON),
        (listed(holding(b'{"b":1}', 100_000), 900_000), JSON),
        (b'{"data":"' + b"\\u0020" * 2**20 + b'{\\"timestamp\\":1}"}', JSON),
        (b"\n".join([holding(b"1", 1000)] * 900), "application/x-ndjson"),
        (b" \n" * 2**21 + EVENT, "application/x-ndjson"),
        (b"data=[" + EVENT + b"%" * 900_000, FORM),
        (b"data=" + b"+" * 2**22 + EVENT, FORM),
    ],
)
def test_long_work(body: bytes, kind: str) -> None:
    """Whatever takes long to read, others have many turns meanwhile, and no step is a large one."""
    desk = Desk()
    deposit = desk.take(body, kind=kind)
    assert isinstance(deposit, Deferred)
    assert len(list(desk.turns())) >= 3
    if kind == FORM and body[-1:] == b"%":
        assert failure_of(deposit, InvalidEvent)
    else:
        assert result_of(deposit).texts


def test_usual_list_is_read_at_once() -> None:
    """A thousand events that are like each other do not wait for a turn."""
    desk = Desk()
    body = listed(b'{"timestamp":1,"x":"%b"}' % (b"x" * 800), 900_000)
    assert len(desk.take(body).texts) > 1000


def test_refusals() -> None:
    """What is wrong with one is found in its turn, and the next one has its turn."""
    desk = Desk()
    excessive = desk.take(b" " * (LIMITS.body_bytes + 1), packed=True)
    wrong = desk.take(b" " * (2 * AT_ONCE_BYTES))
    good = desk.take(LARGE)
    assert list(desk.turns())
    assert failure_of(excessive, TooLarge)
    assert failure_of(wrong, InvalidEvent)
    assert result_of(good).texts == [EVENT]


@pytest.mark.parametrize("leaves", [0, 1])
def test_client_that_goes(leaves: int) -> None:
    """It is not waited for, whether its body waits for its turn or has it."""
    desk = Desk()
    deposits: list[Deferred[Any]] = [desk.take(LARGE, packed=True) for _ in range(2)]
    deposits[leaves].cancel()
    assert failure_of(deposits[leaves], CancelledError)
    assert list(desk.turns())
    assert result_of(deposits[1 - leaves]).texts == [EVENT]
    assert result_of(desk.intake._turns.acquire())
