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


def quiet_observer(runner: Options) -> ILogObserver | None:
    """What a runner shall log to in production: only warnings, and the lines of `LIFE`.

    Args:
        runner: the options of `twistd` or `twist`, whose choice of a log file stays in force.

    Returns:
        The observer for twistd, which takes it as a component of the application. None for twist,
        which takes none and was told through its options.
    """
    if "fileLogObserverFactory" in runner:
        to_file = runner["fileLogObserverFactory"]
        runner["fileLogObserverFactory"] = lambda file: _filtered(to_file(file))
        return None
    # There is no public way to ask twistd for the observer that it would have made.
    return _filtered(UnixAppLogger(runner)._getLogObserver())


def _filtered(observer: Any) -> ILogObserver:
    if not ILogObserver.providedBy(observer):  # syslog's is of the old kind
        observer = LegacyLogObserverWrapper(observer)
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    predicate.setLogLevelForNamespace(LIFE, LogLevel.info)
    return FilteringLogObserver(observer, [predicate])
