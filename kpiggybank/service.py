"""The daemon: its options, and the order in which its parts start and stop."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import Any, ClassVar, NoReturn

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure
from twisted.python.usage import Options as UsageOptions

from kpiggybank import heap, logs
from kpiggybank.about import about
from kpiggybank.bank import Bank
from kpiggybank.config import Config
from kpiggybank.interfaces import IBreakable, IEventBank, StoreError
from kpiggybank.metrics import CONTENT_TYPE, Metrics
from kpiggybank.settings import SETTINGS, ConfigError, Setting
from kpiggybank.stores import open_store
from kpiggybank.web.figures import FiguresApi
from kpiggybank.web.journal import Journal
from kpiggybank.web.site import BankSite
from kpiggybank.web.wsapi import WsApi

#: How long a stop waits for requests that have begun and for followers that read slowly.
STOP_SECONDS = 20.0

#: Turns of the reactor that a stop leaves for connections which the kernel has made.
ACCEPTING_TURNS = 12

EXAMPLE = """curl -d 'data={"type": "hello", "timestamp": 1}'"""


def _parameter(setting: Setting) -> list[str | None]:
    default = f"; default {setting.default}" if setting.default else ""
    return [setting.option, None, None, f"{setting.doc} ({setting.variable}{default})"]


def _refuse(reason: str) -> NoReturn:
    # A UsageError would print the whole of --help before the line that matters.
    sys.exit(f"kpiggybank: {reason}")


class Options(UsageOptions):
    """The settings as options of the plugin; an option beats the environment, that the default."""

    longdesc = "In parentheses: the environment variable that says the same, and the default."
    optParameters: ClassVar = [_parameter(setting) for setting in SETTINGS]

    config: Config

    def postOptions(self) -> None:
        """Check every setting; a wrong one ends the process with one line and status 1."""
        try:
            self.config = Config.from_environ(os.environ, self)
        except ConfigError as error:
            _refuse(str(error))


class MetricsError(Exception):
    """The metrics cannot be offered; the text is one line."""


@attrs.define(eq=False, slots=False)
class BankService(Service):
    """The running daemon: opens the store, then listens; stops in the opposite order.

    Args:
        reactor: the reactor.
        store: not yet open.
        bank: keeps its events in that store.
        site: serves that bank.
        endpoint: where to listen.
        metrics: the site of the metrics, and where it is to be; None for nowhere.
        observer: gets the application's log; None leaves that to whoever runs it.
    """

    _reactor: Any
    _store: IEventBank
    _bank: Bank
    _site: BankSite
    _endpoint: IStreamServerEndpoint
    _metrics: tuple[BankSite, IStreamServerEndpoint] | None
    _observer: ILogObserver | None
    _port: IListeningPort | None = None
    _metrics_port: IListeningPort | None = None
    _started: Deferred[None] | None = None
    _stopping: bool = False

    _log = Logger()

    def setServiceParent(self, parent: Any) -> None:
        """Join an application, and tell it where its log goes."""
        super().setServiceParent(parent)
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)

    def startService(self) -> None:
        """Begin to start; should that fail, the process ends with one line and status 1."""
        super().startService()
        # Not before the reactor runs: it could not be stopped yet.
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._started = Deferred.fromCoroutine(self._start()).addErrback(self._fail)

    async def _start(self) -> None:
        if IBreakable.providedBy(self._store):
            IBreakable(self._store).when_broken(self._break)
        await self._bank.open()
        await self._offer_metrics()
        self._port = await self._endpoint.listen(self._site)
        url = _url(self._port.getHost())
        store = self._store.describe()
        self._log.info("KPIggyBank listens at {url}; store: {store}", url=url, store=store)
        self._log.debug("try: {example} {url}/wsapi/interaction_data", example=EXAMPLE, url=url)

    async def _offer_metrics(self) -> None:
        if self._metrics is None:
            return
        site, endpoint = self._metrics
        try:
            self._metrics_port = await endpoint.listen(site)
        except CannotListenError as error:
            raise MetricsError(f"METRICS takes a free address of this machine: {error}") from error
        url = _url(self._metrics_port.getHost())
        self._log.info("metrics are at {url}/metrics", url=url)

    async def _end_metrics(self) -> None:
        if self._metrics is not None and self._metrics_port is not None:
            await maybeDeferred(self._metrics_port.stopListening)
            await self._metrics[0].drain(STOP_SECONDS)

    def _fail(self, failure: Failure) -> None:
        if self._stopping:
            return  # whatever it waited for was given up
        reason = failure.getErrorMessage()
        if failure.check(CannotListenError):
            reason = f"HOST and PORT, or LISTEN, take a free address of this machine: {reason}"
        if failure.check(StoreError, CannotListenError, MetricsError):
            self._log.critical("KPIggyBank cannot start: {reason}", reason=reason)
        else:
            self._log.failure("KPIggyBank cannot start", failure)
        self._end(reason)

    def _break(self, error: StoreError) -> None:
        self._log.critical("KPIggyBank cannot go on: {reason}", reason=str(error))
        self._end(str(error))

    def _end(self, reason: str) -> None:
        """Stop in order, but with one line and status 1."""
        # twistd has sent stderr to the log by now, and knows no other status than 0.
        print(f"kpiggybank: {reason}", file=sys.__stderr__, flush=True)
        atexit.register(os._exit, 1)
        if not self._stopping:
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop in order; fires when the last request is answered and the store is closed."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        if self._started is not None:
            if self._port is None:
                await self._store.close()  # it may wait for its server without end
            await self._started
        if self._port is not None:
            # The kernel has made connections that would be reset. Twisted accepts one in a turn,
            # then 20 more each turn: so many turns are enough for `BACKLOG`.
            for _ in range(ACCEPTING_TURNS):
                await deferLater(self._reactor, 0)
            await maybeDeferred(self._port.stopListening)
        self._bank.end_feed()
        await self._site.drain(STOP_SECONDS)
        await self._end_metrics()
        await self._store.close()
        if self._port is not None:
            self._log.info("KPIggyBank has stopped")


def _url(address: IAddress) -> str:
    match address:
        case object(host=str(host), port=int(port)):
            return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        case _:
            return str(address)


def makeService(options: Options) -> BankService:
    """The service that `twistd kpiggybank` runs; a wrong setting ends the process with one line."""
    # Only here, so that `twist --reactor` can choose first.
    from twisted.internet import reactor

    config = options.config
    endpoint = _endpoint(reactor, "LISTEN", config.endpoint)
    try:
        store = open_store(config, reactor)
    except ValueError:
        # What was given is not told: a URL may have a password in it.
        _refuse("DB_HOST and DB_PORT take a host and its port, or a URL like https://host:port")
    bank = Bank(store, reactor)
    what = about(config.source_url, config.source_commit)
    api = WsApi(bank, reactor, config.stall_timeout, what)
    site = BankSite(api.resource, reactor, Journal(config.logs_access))
    metrics = None
    if config.metrics:
        figures = Metrics(bank, site.journal, lambda: len(site.connections), what, reactor)
        door = FiguresApi(figures.render, CONTENT_TYPE)
        metrics_site = BankSite(door.resource, reactor)
        metrics = metrics_site, _endpoint(reactor, "METRICS", config.metrics)
    quiet, as_json = config.mode == "prod", config.log_format == "json"
    runner = options.parent if quiet or as_json else None
    observer = None if runner is None else logs.observer(runner, quiet=quiet, as_json=as_json)
    heap.keep_free_memory()
    heap.search_less_for_cycles()
    reactor.callWhenRunning(_stop_on_signals, reactor)
    return BankService(reactor, store, bank, site, endpoint, metrics, observer)


def _endpoint(reactor: Any, setting: str, text: str) -> IStreamServerEndpoint:
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except (ValueError, TypeError, LookupError, OSError) as error:
        _refuse(f"{setting} takes a Twisted endpoint string, not {text!r}: {error}")
    return endpoint


def _stop_on_signals(reactor: Any) -> None:
    """Make SIGTERM and SIGINT a clean end with status 0.

    The reactor's own handlers stop it, too, but twistd then kills itself by the same signal.
    """
    stops = [reactor.stop]

    def stop(number: int, frame: object) -> None:
        # A second signal changes nothing: the stop has its own time limit.
        while stops:
            reactor.callFromThread(stops.pop())

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
