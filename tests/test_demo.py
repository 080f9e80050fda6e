"""The demo's pace, what it prints, and how it ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError, DNSLookupError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kpiggybank import demo
from kpiggybank.client import RequestFailed
from kpiggybank.sample import SignIns

URL = "http://127.0.0.1:3000"
REFUSED = ConnectionRefusedError()


@define(eq=False)
class StubClient:
    """Answers each event as told, at once unless told to wait."""

    answers: Iterator[Deferred[list[str]]]
    saved: list[Any] = field(factory=list)
    closing: Deferred[None] = field(factory=lambda: succeed(None))
    closed: int = 0

    def saveData(self, events: Any, /, *, retries: int) -> Deferred[list[str]]:
        """Note the event and give the next answer."""
        self.saved.append(events)
        return next(self.answers)

    def close(self) -> Deferred[None]:
        """Count the call."""
        self.closed += 1
        return self.closing


class ReactorClock(Clock):
    """A clock that keeps the shutdown trigger, so that a test can press Ctrl-C."""

    def addSystemEventTrigger(self, phase: str, event: str, trigger: Any) -> None:
        """Keep the trigger."""
        assert (phase, event) == ("before", "shutdown")
        self.shutdown = trigger


@pytest.fixture
def clock() -> Iterator[ReactorClock]:
    """A reactor's clock that leaves no demo running when the test ends."""
    clock = ReactorClock()
    yield clock
    clock.shutdown()


def answering() -> StubClient:
    """Make a client whose server saves everything at once."""
    return StubClient(succeed([f"id-{number}"]) for number in range(10**6))


def events(count: int) -> Iterable[dict[str, Any]]:
    """Make events to send."""
    return islice(SignIns(1, 1_700_000_000.0), count)


def start(
    clock: ReactorClock, client: StubClient, *, count: int = 100, pace: float = 2
) -> list[Any]:
    """Start the demo; the list holds its result or Failure once it has ended."""
    ended: list[Any] = []
    running = Deferred.fromCoroutine(demo.demo(clock, client, URL, events(count), pace))
    running.addBoth(ended.append)
    return ended


def exit_line(ended: list[Any]) -> str:
    """Give the one line with which the demo exits."""
    [failure] = ended
    assert isinstance(failure, Failure)
    assert isinstance(failure.value, SystemExit)
    line = failure.value.code
    assert isinstance(line, str)
    assert "\n" not in line
    return line


def test_the_first_event_is_sent_at_once(clock: ReactorClock) -> None:
    """A newcomer sees something without waiting."""
    client = answering()
    start(clock, client)
    clock.advance(0)
    assert len(client.saved) == 1


def test_events_are_sent_at_an_even_pace(clock: ReactorClock) -> None:
    """Two a second are one each half second."""
    client = answering()
    start(clock, client, pace=2)
    sent = []
    for seconds in (0, 0.25, 0.25, 0.25, 0.25):
        clock.advance(seconds)
        sent.append(len(client.saved))
    assert sent == [1, 1, 2, 2, 3]


def test_events_happen_when_they_are_sent(clock: ReactorClock) -> None:
    """Whoever looks at the last minute sees them, in milliseconds."""
    client = answering()
    clock.advance(1_700_000_000.25)
    start(clock, client, pace=2)
    clock.pump([0, 0.5])
    times = [event["timestamp"] for event in client.saved]
    assert times == [1_700_000_000_250, 1_700_000_000_750]


def test_the_next_event_waits_for_a_slow_answer(clock: ReactorClock) -> None:
    """The demo never has two requests under way."""
    answer = Deferred[list[str]]()
    client = StubClient(iter([answer, succeed(["id-1"])]))
    start(clock, client)
    clock.pump([0, 5, 5])
    assert len(client.saved) == 1
    answer.callback(["id-0"])
    clock.advance(0)
    assert len(client.saved) == 2


def test_lost_time_is_not_made_up_with_a_burst(clock: ReactorClock) -> None:
    """After a slow answer the pace is the old one."""
    answer = Deferred[list[str]]()
    client = StubClient(iter([answer, *(succeed(["id"]) for _ in range(9))]))
    start(clock, client, pace=2)
    clock.pump([0, 10])
    answer.callback(["id-0"])
    clock.pump([0, 0, 0, 0.25])
    assert len(client.saved) == 2


def test_it_ends_after_the_count(clock: ReactorClock, capsys: pytest.CaptureFixture[str]) -> None:
    """The last event ends the demo, says how many there were and closes the client."""
    client = answering()
    ended = start(clock, client, count=3)
    clock.pump([0, 0.5, 0.5])
    assert ended == [None]
    assert (len(client.saved), client.closed) == (3, 1)
    assert capsys.readouterr().out.splitlines()[-1] == "3 events sent"


def test_it_prints_a_line_about_each_second(
    clock: ReactorClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fast demo does not flood the terminal."""
    client = answering()
    start(clock, client, pace=4)
    clock.pump([0, *[0.25] * 8])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["id-0", "id-4", "id-8"]


def test_a_summary_says_who_came_with_what() -> None:
    """One line tells the journey, the browser, the number of steps and the time."""
    event = {
        "event_stream": [["dialog.opened", 3], ["session.none", 120], ["screen.x", 3240, 9]],
        "user_agent": {"os": "Windows", "browser": "Firefox", "version": "128.0"},
    }
    assert demo.summary(event) == "new user, Firefox 128 on Windows, 3 steps, 3.2 s"


@pytest.mark.parametrize("why", [REFUSED, ConnectionLost(), DNSLookupError(), TimeoutError()])
def test_no_server_is_one_line_that_says_how_to_start_one(
    clock: ReactorClock, capsys: pytest.CaptureFixture[str], why: Exception
) -> None:
    """The likeliest mistake has its cure in the message."""
    client = StubClient(iter([fail(why)]))
    ended = start(clock, client)
    clock.advance(0)
    assert exit_line(ended) == f"no server answers at {URL}; start one with: make run"
    assert client.closed == 1
    assert capsys.readouterr().out == ""


def test_a_refusal_is_one_line_with_the_reason(clock: ReactorClock) -> None:
    """A server that is there and says no is not told to be started."""
    refusal = RequestFailed(503, "unavailable", "the disk is full")
    ended = start(clock, StubClient(iter([fail(refusal)])))
    clock.advance(0)
    assert exit_line(ended) == f"{URL} refused an event: 503 the disk is full"


def test_a_mistake_of_ours_stays_visible(clock: ReactorClock) -> None:
    """Only failures with a known cure lose their traceback."""
    ended = start(clock, StubClient(iter([fail(KeyError("oops"))])))
    clock.advance(0)
    assert isinstance(ended[0].value, KeyError)


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "localhost:3000", "ftp://127.0.0.1", ""])
def test_wrong_url(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no URL of a server is refused with a line that says what is one."""
    monkeypatch.setattr("sys.argv", ["demo", "--url", url])
    with pytest.raises(SystemExit, match="2"):
        demo.main()
    assert "--url takes such as http://127.0.0.1:3000" in capsys.readouterr().err.splitlines()[-1]


def test_ctrl_c_between_two_events_ends_in_order(
    clock: ReactorClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reactor's stop ends the demo without a failure or a timer left behind."""
    client = answering()
    ended = start(clock, client)
    clock.pump([0, 0.5, 0.1])
    clock.shutdown()
    assert ended == [None]
    assert client.closed == 1
    assert clock.getDelayedCalls() == []
    assert capsys.readouterr().out.splitlines()[-1] == "2 events sent"


def test_ctrl_c_cancels_the_request_under_way(clock: ReactorClock) -> None:
    """A server that hangs cannot hold the demo; how its request fails then is no matter."""
    hanging = Deferred[list[str]](lambda d: d.errback(ConnectionLost()))
    ended = start(clock, StubClient(iter([hanging])))
    clock.advance(0)
    clock.shutdown()
    assert ended == [None]


def test_the_reactor_waits_until_the_client_is_closed(clock: ReactorClock) -> None:
    """The shutdown trigger fires only when the connections are gone."""
    client, closing = answering(), Deferred[None]()
    client.closing = closing
    start(clock, client)
    clock.advance(0)
    waiting = clock.shutdown()
    assert not waiting.called
    closing.callback(None)
    assert waiting.called
