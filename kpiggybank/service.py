"""The daemon: its options, and the order in which its parts start and stop."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import Any, ClassVar, NoReturn

import attrs
from OpenSSL import SSL, crypto
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    SSL4ServerEndpoint,
    serverFromString,
)
from twisted.internet.error import CannotListenError, VerifyError
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure
from twisted.python.usage import Options as UsageOptions

from kpiggybank import heap, logs
from kpiggybank.bank import Bank
from kpiggybank.config import Config
from kpiggybank.events import EventLimits
from kpiggybank.files import allow_open_files
from kpiggybank.interfaces import IBreakable, IEventBank, StoreError
from kpiggybank.notify import Notifier
from kpiggybank.settings import SETTINGS, ConfigError, Setting
from kpiggybank.stores import open_store
from kpiggybank.tokens import TokenSource, TokenSources
from kpiggybank.web.access import Access, Guarded, is_local, reaches_others
from kpiggybank.web.bounds import Limits
from kpiggybank.web.site import BankSite
from kpiggybank.web.wsapi import WsApi

#: How long a stop waits for requests that have begun and for followers that read slowly.
STOP_SECONDS = 20.0

#: Turns of the reactor that a stop leaves for connections which the kernel has made.
ACCEPTING_TURNS = 12

#: Open files beside the clients' connections: the store's, the log, and connections that are told
#: that there are too many.
SPARE_FILES = 200

EXAMPLE = """curl -d 'data={"type": "hello", "timestamp": 1}'"""
EXAMPLE_WITH_TOKEN = EXAMPLE.replace("-d", '-H "Authorization: Bearer $WRITE_TOKEN" -d')


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


@attrs.define(eq=False, slots=False)
class BankService(Service):
    """The running daemon: opens the store, then listens; stops in the opposite order.

    Args:
        reactor: the reactor.
        store: not yet open.
        bank: keeps its events in that store.
        site: serves that bank.
        endpoint: where to listen.
        access: guards that site.
        anonymous: whether others than this machine may reach it without a token.
        observer: gets the application's log; None leaves that to whoever runs it.
        notifier: tells systemd how it goes.
    """

    _reactor: Any
    _store: IEventBank
    _bank: Bank
    _site: BankSite
    _endpoint: IStreamServerEndpoint
    _access: Access
    _anonymous: bool
    _observer: ILogObserver | None
    _notifier: Notifier
    _port: IListeningPort | None = None
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
        self._notifier.status(f"opens the store: {self._store.describe()}")
        await self._bank.open()
        port: IListeningPort = await self._endpoint.listen(self._site)
        address = port.getHost()
        self._access.listens_at(address)
        if not (self._access.tokens or self._anonymous or is_local(address)):
            # Now, and not when the rest stops: nobody shall get in before that.
            await maybeDeferred(port.stopListening)
            raise _open_to_others(_url(address))
        self._port = port
        url = _url(address)
        if isinstance(self._endpoint, SSL4ServerEndpoint):
            url = url.replace("http:", "https:", 1)
        store = self._store.describe()
        self._log.info("KPIggyBank listens at {url}; store: {store}", url=url, store=store)
        example = EXAMPLE_WITH_TOKEN if self._access.tokens else EXAMPLE
        self._log.debug("try: {example} {url}/wsapi/interaction_data", example=example, url=url)
        self._notifier.ready(f"listens at {url}; store: {store}", self._bank.last)

    def _fail(self, failure: Failure) -> None:
        if self._stopping:
            return  # whatever it waited for was given up
        reason = failure.getErrorMessage()
        if failure.check(CannotListenError):
            reason = f"HOST and PORT, or LISTEN, take a free address of this machine: {reason}"
        if failure.check(StoreError, CannotListenError, ConfigError):
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
        self._notifier.stopping(reason)
        if not self._stopping:
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop in order; fires when the last request is answered and the store is closed."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        self._notifier.stopping()
        if self._started is not None:
            if self._port is None:
                await self._store.close()  # it may wait for its server without end
            await self._started
        if self._port is not None:
            # The kernel has made connections that would be reset. Twisted accepts one in a turn,
            # then 20 more each turn: so many turns are enough for `BACKLOG`. At systemd's socket,
            # they wait for the next daemon.
            if not isinstance(self._endpoint, AdoptedStreamServerEndpoint):
                for _ in range(ACCEPTING_TURNS):
                    await deferLater(self._reactor, 0)
            await maybeDeferred(self._port.stopListening)
        self._bank.end_feed()
        await self._site.drain(STOP_SECONDS)
        await self._store.close()
        if self._port is not None:
            self._log.info("KPIggyBank has stopped")


def _url(address: IAddress) -> str:
    match address:
        case object(host=str(host), port=int(port)):
            return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        case _:
            return str(address)


def _open_to_others(place: str) -> ConfigError:
    return ConfigError(
        f"others than this machine may reach {place}, so either set tokens (WRITE_TOKEN and "
        "READ_TOKEN, or WRITE_TOKEN_FILE and READ_TOKEN_FILE), or ALLOW_ANONYMOUS=1 to let "
        "everybody in"
    )


def makeService(options: Options) -> BankService:
    """The service that `twistd kpiggybank` runs; a wrong setting ends the process with one line."""
    # Only here, so that `twist --reactor` can choose first.
    from twisted.internet import reactor

    config = options.config
    sources = TokenSources(
        TokenSource(config.write_token, "WRITE_TOKEN_FILE", config.write_token_file),
        TokenSource(config.read_token, "READ_TOKEN_FILE", config.read_token_file),
    )
    try:
        tokens = sources.tokens()
        if reaches_others(config.host) and not (tokens or config.allow_anonymous or config.listen):
            raise _open_to_others(f"HOST={config.host}")
    except ConfigError as error:
        _refuse(str(error))
    access = Access(tokens, config.cors_origins, config.cors_read, config.allowed_hosts)
    try:
        endpoint = serverFromString(reactor, config.endpoint)
    except (ValueError, TypeError, LookupError, OSError) as error:
        _refuse(f"LISTEN takes a Twisted endpoint string, not {config.endpoint!r}: {error}")
    except (SSL.Error, crypto.Error, VerifyError):
        _refuse(f"LISTEN={config.endpoint!r} names files that hold no certificate with its key")
    try:
        store = open_store(config, reactor)
    except ValueError:
        # What was given is not told: a URL may have a password in it.
        _refuse("DB_HOST and DB_PORT take a host and its port, or a URL like https://host:port")
    bank = Bank(store, reactor)
    limits = _limits(config)
    api = WsApi(bank, reactor, config.stall_timeout, limits)
    site = BankSite(Guarded(access, api.resource), reactor, limits)
    runner = options.parent if config.mode == "prod" else None
    observer = None if runner is None else logs.quiet_observer(runner)
    heap.keep_free_memory()
    heap.search_less_for_cycles()
    reactor.callWhenRunning(_stop_on_signals, reactor)
    reactor.callWhenRunning(sources.renew_on_hangup, reactor, access.use)
    anonymous = config.allow_anonymous
    notifier = Notifier.from_environ(os.environ, reactor)
    return BankService(reactor, store, bank, site, endpoint, access, anonymous, observer, notifier)


def _limits(config: Config) -> Limits:
    """What clients may cost; the files that their connections take are allowed."""
    connections = config.max_connections
    files = allow_open_files(connections + SPARE_FILES)
    if files < connections + SPARE_FILES:
        connections = max(1, files - SPARE_FILES)
        Logger("kpiggybank").warn(
            "MAX_CONNECTIONS is {wanted}, but with {files} open files, which is all that this "
            "process may have (ulimit -Hn), it is {connections}",
            wanted=config.max_connections,
            files=files,
            connections=connections,
        )
    return Limits(
        config.max_body,
        config.head_timeout,
        config.body_timeout,
        config.idle_timeout,
        connections,
        config.max_requests,
        config.max_request_bytes,
        EventLimits(config.max_event, config.max_depth, config.max_events),
    )


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
