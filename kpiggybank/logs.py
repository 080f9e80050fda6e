"""What reaches the log."""

from __future__ import annotations

from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogLevel,
    LogLevelFilterPredicate,
)
from twisted.python.usage import Options
from twisted.scripts._twistd_unix import UnixAppLogger

#: The module whose information is worth a line in production: it tells of start and stop.
LIFE = "kpiggybank.service"


def quieten(runner: Options) -> None:
    """Let only warnings and lines of `LIFE` reach the log that a runner is about to set up.

    Args:
        runner: the options of `twistd` or `twist`, whose choice of a log file stays in force.
    """
    if "fileLogObserverFactory" in runner:  # twist
        to_file = runner["fileLogObserverFactory"]
        runner["fileLogObserverFactory"] = lambda file: _filtered(to_file(file))
    elif not runner.get("logger"):  # twistd, unless somebody brought an observer of their own
        # There is no public way to ask twistd for the observer that it would have made.
        usual = UnixAppLogger(runner)
        runner["logger"] = lambda: _filtered(usual._getLogObserver())


def _filtered(observer: Any) -> ILogObserver:
    if not ILogObserver.providedBy(observer):  # syslog's is of the old kind
        observer = LegacyLogObserverWrapper(observer)
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    predicate.setLogLevelForNamespace(LIFE, LogLevel.info)
    return FilteringLogObserver(observer, [predicate])
