"""The log as JSON: an object a line, whatever is in it."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any, cast

from twisted.logger import LogEvent, Logger, LogLevel, textFileLogObserver
from twisted.python.failure import Failure

from kpiggybank.logs import observer


class Runner(dict[str, Any]):
    """The options of `twist`, as far as they matter."""


def written(events: list[LogEvent], *, quiet: bool = False) -> list[Any]:
    """What of these events is in the log."""
    runner: Any = Runner(fileLogObserverFactory=textFileLogObserver)
    assert observer(runner, quiet=quiet, as_json=True) is None
    file = StringIO()
    tell = runner["fileLogObserverFactory"](file)
    for event in events:
        tell(event)
    return [json.loads(line) for line in file.getvalue().splitlines()]


def logged(level: LogLevel, text: str, namespace: str = "some.where", **fields: Any) -> LogEvent:
    """An event as a logger makes it."""
    events: list[LogEvent] = []
    Logger(namespace, observer=cast(Any, events.append)).emit(level, text, **fields)
    (event,) = events
    event["log_time"] = 1_700_000_000.25
    return event


def test_line() -> None:
    """A line has the time in UTC, the level, where it comes from, and the text on one line."""
    (line,) = written([logged(LogLevel.warn, "a {what}", what="b\nc \ud800")])
    assert line == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "warn",
        "namespace": "some.where",
        "text": "a b\nc \ud800",
    }


def test_failure() -> None:
    """A failure is a member with its traceback."""
    try:
        raise ValueError("two\nlines")
    except ValueError:
        failure = Failure()
    (line,) = written([logged(LogLevel.critical, "it failed", log_failure=failure)])
    assert line["text"] == "it failed"
    assert "ValueError: two\nlines" in line["failure"]


def test_foreign_event() -> None:
    """What is no proper event is a line all the same."""
    (line,) = written([{"log_time": 0.0, "log_format": "{missing}"}])
    assert line["level"] == "info"
    assert "Unable to format event" in line["text"]


def test_quiet() -> None:
    """In production, warnings are told, start and stop, and the access log where there is one."""
    access = {"method": "GET", "path": "/", "status": 200, "bytes": 1, "milliseconds": 0.5}
    events = [
        logged(LogLevel.info, "no"),
        logged(LogLevel.warn, "warning"),
        logged(LogLevel.info, "start", "kpiggybank.service"),
        logged(LogLevel.info, "line", "kpiggybank.access", **access, request_id="x", end="whole"),
    ]
    *first, last = written(events, quiet=True)
    assert [line["text"] for line in first] == ["warning", "start"]
    assert {name: last[name] for name in access} == access
    assert (last["request_id"], last["end"]) == ("x", "whole")
