"""A stream of made-up sign-ins for a running server: `python -m kpiggybank.demo`."""

import argparse
from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater, react
from twisted.web.client import ResponseFailed

from kpiggybank.client import KPIggyBank, RequestFailed
from kpiggybank.sample import SignIns, journey_of

# OSError stands for names that are not found and for the standard library's TimeoutError.
NOT_THERE = (ConnectError, ConnectionClosed, OSError, ResponseFailed)


class Saver(Protocol):
    """The part of the client that the demo needs."""

    def saveData(self, events: Any, /, *, retries: int) -> Deferred[list[str]]:
        """Save an event; fires with a list of its id."""

    def close(self) -> Deferred[None]:
        """Drop the connections."""


def summary(event: dict[str, Any]) -> str:
    """Describe an event: "new user, Firefox 128 on Windows, 7 steps, 3.2 s"."""
    agent, stream = event["user_agent"], event["event_stream"]
    browser = f"{agent['browser']} {agent['version'].split('.')[0]} on {agent['os']}"
    return f"{journey_of(event)}, {browser}, {len(stream)} steps, {stream[-1][1] / 1000:.1f} s"


async def send(clock: IReactorTime, api: Saver, events: Iterable[Any], pace: float) -> None:
    """Save `pace` events a second, one after the other; print one of them about each second.

    Each happens when it is sent.
    """
    sent, due = 0, clock.seconds()
    try:
        for event in events:
            await deferLater(clock, max(0.0, due - clock.seconds()))
            # A slow server is waited for, and the time lost is not made up with a burst.
            due = max(due, clock.seconds()) + 1 / pace
            event = {**event, "timestamp": int(1000 * clock.seconds())}
            # Who has forgotten to start a server shall hear of it at once.
            ids = await api.saveData(event, retries=0)
            if sent % max(1, round(pace)) == 0:
                print(f"{ids[0]}  {summary(event)}", flush=True)
            sent += 1
    finally:
        if sent:
            print(f"{sent} {'event' if sent == 1 else 'events'} sent")


async def demo(reactor: Any, api: Saver, url: str, events: Iterable[Any], pace: float) -> None:
    """Send the events and close the client; Ctrl-C ends it early, which is no failure.

    Raises:
        SystemExit: With one line that says what is wrong and what to do about it.
    """
    sending = Deferred.fromCoroutine(send(reactor, api, events, pace))
    interrupted, closed = False, Deferred[None]()

    def interrupt() -> Deferred[None]:
        nonlocal interrupted
        interrupted = True
        sending.cancel()
        return closed

    reactor.addSystemEventTrigger("before", "shutdown", interrupt)
    try:
        await sending
    except (CancelledError, RequestFailed, *NOT_THERE) as error:
        # What a cancelled request fails with is the client's affair: after Ctrl-C all is well.
        if not interrupted:
            line = f"no server answers at {url}; start one with: make run"
            if isinstance(error, RequestFailed):
                line = f"{url} refused an event: {error.status} {error.reason}"
            raise SystemExit(line) from error
    finally:
        await api.close().chainDeferred(closed)


def main() -> None:
    """Read the arguments and send until the count is reached or Ctrl-C."""
    parser = argparse.ArgumentParser("python -m kpiggybank.demo", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:3000", help="default: %(default)s")
    parser.add_argument("--token", help="one that may write, where the server wants it")
    parser.add_argument("--per-second", type=float, default=3, help="default: %(default)s")
    parser.add_argument("--count", type=int, help="default: until Ctrl-C")
    given = parser.parse_args()
    if not 0 < given.per_second <= 1000 or (given.count is not None and given.count < 1):
        parser.error("--per-second is a number up to 1000, --count one from 1 on")
    try:
        api = KPIggyBank(given.url, token=given.token)
    except ValueError:
        parser.error("--url takes such as http://127.0.0.1:3000, --token a word of visible ASCII")
    events = islice(SignIns(), given.count)
    react(demo, (api, given.url, events, given.per_second))


if __name__ == "__main__":
    main()
