"""What reaches the log, and in which form."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.python.usage import Options
from twisted.scripts._twistd_unix import UnixAppLogger
from zope.interface import provider

#: The module whose information is worth a line in production: it tells of start and stop.
LIFE = "kpiggybank.service"
#: Where requests are told of.
ACCESS = "kpiggybank.access"

#: What a line of `ACCESS` has besides its text, each of which is a member of its object in JSON.
_FIELDS = ("method", "path", "status", "bytes", "milliseconds", "request_id", "end")


def observer(runner: Options, *, quiet: bool, as_json: bool) -> ILogObserver | None:
    """What a runner shall log to.

    Args:
        runner: the options of `twistd` or `twist`, whose choice of a log file stays in force.
        quiet: only warnings, the lines of `LIFE`, and those of `ACCESS` where they are made.
        as_json: an object a line, rather than text.

    Returns:
        The observer for twistd, which takes it as a component of the application. None for twist,
        which takes none and was told through its options.
    """

    def shaped(observer: Any) -> Any:
        if as_json:
            observer = _in_json(observer)
        return _filtered(observer) if quiet else observer

    if "fileLogObserverFactory" in runner:
        to_file: Callable[[Any], Any] = runner["fileLogObserverFactory"]
        runner["fileLogObserverFactory"] = lambda file: shaped(to_file(file))
        return None
    # There is no public way to ask twistd for the observer that it would have made.
    made: ILogObserver = shaped(_modern(UnixAppLogger(runner)._getLogObserver()))
    return made


def json_line(event: LogEvent) -> str:
    """An event of the log as a line with one JSON object, whatever is in it."""
    level, failure = event.get("log_level"), event.get("log_failure")
    line = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": "info" if level is None else level.name,
        "namespace": event.get("log_namespace") or "-",
        "text": formatEvent(event),
    }
    if failure is not None:
        line["failure"] = failure.getTraceback()
    if event.get("log_namespace") == ACCESS:
        line |= {name: event[name] for name in _FIELDS}
    return json.dumps(line) + "\n"


def _in_json(observer: Any) -> ILogObserver:
    if isinstance(observer, FileLogObserver):
        observer.formatEvent = json_line
        return observer

    @provider(ILogObserver)
    def tell(event: LogEvent) -> None:
        known = {name: event.get(name) for name in ("log_level", "log_namespace", "log_time")}
        observer({**known, "log_format": "{line}", "line": json_line(event).rstrip()})

    told: ILogObserver = tell
    return told


def _modern(observer: Any) -> Any:
    # Syslog's is of the old kind.
    return observer if ILogObserver.providedBy(observer) else LegacyLogObserverWrapper(observer)


def _filtered(observer: Any) -> ILogObserver:
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    predicate.setLogLevelForNamespace(LIFE, LogLevel.info)
    predicate.setLogLevelForNamespace(ACCESS, LogLevel.info)
    return FilteringLogObserver(observer, [predicate])
