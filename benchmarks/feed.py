"""What it costs to tell a change: KPIggyBank's feed / a bare loop of `request.write`.

Deliveries a second at 1, 100 and 1,000 followers, one change at a time and 16 at a time; the other
side tells one change at a time in all rows. Both servers take turns, so that a noisy machine
disturbs both; where there are two cores, one is for the server and the other for the followers,
which only count. The ratios are what counts.

Then the delay from an event's 201 to the line at a follower, through the real daemon on SQLite.
"""

from __future__ import annotations

import os
import selectors
import socket
import statistics
import sys
import time

from benchmarks.servers import cpu_seconds, server

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
STREAM = b"GET /wsapi/interaction_data/stream HTTP/1.1\r\nHost: x\r\n\r\n"


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
            go.sendall(b"GET /go/%d/%d HTTP/1.1\r\nHost: x\r\n\r\n" % (changes, together))
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


if __name__ == "__main__":
    main()
