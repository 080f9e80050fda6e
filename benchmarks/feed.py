"""What it costs to tell a change: KPIggyBank's feed / a bare loop of `request.write`.

Deliveries a second at 1, 100 and 1,000 followers, one change at a time and 16 at a time; the other
side tells one change at a time in all rows. Both servers take turns, so that a noisy machine
disturbs both; where there are two cores, one is for the server and the other for the followers,
which only count. The ratios are what counts.

Then the delay from an event's 201 to the line at a follower, through the real daemon on SQLite.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import statistics
import sys
import tempfile
import time

from benchmarks.servers import BANK, cpu_seconds, server

ROUNDS = 5
#: Followers, changes together, deliveries to measure, goal.
ROWS = (
    (1, 1, 10_000, 1.0),
    (100, 1, 60_000, 1.0),
    (1000, 1, 60_000, 1.0),
    (1, 16, 40_000, 3.0),
    (100, 16, 160_000, 3.0),
    (1000, 16, 160_000, 3.0),
)
#: Of the measurement of delays.
EVENTS_A_SECOND = 200
DELAY_FOLLOWERS = 100
DELAY_EVENTS = 2000
NUMBER = re.compile(rb'"n":([0-9]+),')

STREAM = b"GET /wsapi/interaction_data/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Followers:
    """Connections that count the changes they get."""

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.selector = selectors.EpollSelector()
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        for each in self.sockets:
            each.sendall(STREAM)
        for each in self.sockets:
            head = b""
            while b"\r\n\r\n" not in head:
                head += each.recv(4096)
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"unexpected answer: {head!r}")
            each.setblocking(False)
            self.selector.register(each, selectors.EVENT_READ)

    def measure(self, changes: int, together: int) -> float:
        """Let the server tell so many changes; the seconds until every follower has all of them."""
        wanted = changes * len(self.sockets)
        started = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.port)) as go:
            go.sendall(b"GET /go/%d/%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % (changes, together))
            while wanted > 0:
                for key, _ in self.selector.select(10):
                    # Split between two pieces, the text would not be counted; then this never ends.
                    wanted -= key.fileobj.recv(1 << 20).count(b"}\r\n")  # type: ignore[union-attr]
        return time.perf_counter() - started

    def close(self) -> None:
        """Leave."""
        self.selector.close()
        for each in self.sockets:
            each.close()


class Delays:
    """Posts events at an even pace, one request after the other, and times what comes back."""

    def __init__(self, port: int, crowd: Followers) -> None:
        self._crowd = crowd
        self._poster = socket.create_connection(("127.0.0.1", port))
        self._poster.setblocking(False)
        crowd.selector.register(self._poster, selectors.EVENT_READ)
        self._acks: list[float] = []
        self._lines: list[list[float]] = []
        self._missing = 0

    def measure(self, events: int) -> list[float]:
        """Milliseconds from the 201 of each event until each of the followers had its line."""
        self._lines = [[] for _ in range(events)]
        self._missing = events * len(self._crowd.sockets)
        started = time.perf_counter()
        for number in range(events):
            while (left := started + number / EVENTS_A_SECOND - time.perf_counter()) > 0:
                self._listen(left)
            while len(self._acks) < number:
                self._listen(1)
            body = b'{"timestamp":1,"n":%d,"text":"%b"}' % (number, b"x" * 450)
            self._poster.sendall(
                b"POST /wsapi/interaction_data HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
        while self._missing or len(self._acks) < events:
            self._listen(1)
        self._poster.close()
        return [
            (line - ack) * 1000
            for ack, lines in zip(self._acks, self._lines, strict=True)
            for line in lines
        ]

    def _listen(self, seconds: float) -> None:
        for key, _ in self._crowd.selector.select(seconds):
            data = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
            now = time.perf_counter()
            if key.fileobj is self._poster:
                self._acks += [now] * data.count(b"HTTP/1.1 201 ")
            for number in NUMBER.findall(data):
                self._lines[int(number)].append(now)
                self._missing -= 1


def delays(core: int) -> None:
    """Measure the real daemon on SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"DB_BACKEND": "sqlite", "DATA_DIR": folder, "PORT": "0", "MODE": "prod"}
        with server(BANK, core, **settings) as (port, _):
            crowd = Followers(port, DELAY_FOLLOWERS)
            found = sorted(Delays(port, crowd).measure(DELAY_EVENTS))
            crowd.close()
    print(
        f"from 201 to line, {EVENTS_A_SECOND} events a second, {DELAY_FOLLOWERS} followers, SQLite:"
        f" median {found[len(found) // 2]:.2f} ms, p99 {found[len(found) * 99 // 100]:.2f} ms"
        " (below zero: the line came first)"
    )


def main() -> None:
    """Measure in turn and print a table."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    command = [sys.executable, "-m", "benchmarks.feed_server"]
    with server([*command, "bare"], cores[0]) as bare, server([*command, "bank"], cores[0]) as bank:
        print(f"deliveries a second, {ROUNDS} rounds in turn (CPU us a delivery)")
        for followers, together, deliveries, goal in ROWS:
            changes = deliveries // followers // together * together
            ratios, texts = [], ["", ""]
            for _ in range(ROUNDS):
                rates = []
                for place, (port, pid) in enumerate((bare, bank)):
                    crowd = Followers(port, followers)
                    before = cpu_seconds(pid)
                    rate = changes * followers / crowd.measure(changes, together)
                    cost = (cpu_seconds(pid) - before) / (changes * followers) * 1e6
                    crowd.close()
                    rates.append(rate)
                    texts[place] = f"{rate:8.0f}/s ({cost:4.1f})"
                ratios.append(rates[1] / rates[0])
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(
                f"{followers:5} followers, {together:2} at a time: bank {texts[1]},"
                f" bare {texts[0]}; ratio {spread}, goal {goal}",
                flush=True,
            )
    delays(cores[0])


if __name__ == "__main__":
    main()
