"""The daemon: the order in which its parts start and stop."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    SSL4ServerEndpoint,
)
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from kpiggybank.bank import Bank
from kpiggybank.interfaces import IBreakable, IEventBank, StoreError
from kpiggybank.notify import Notifier
from kpiggybank.values import ConfigError
from kpiggybank.web.access import Access, is_local
from kpiggybank.web.site import BankSite
from kpiggybank.words import one_line

#: How long a stop waits for requests that have begun and for followers that read slowly.
STOP_SECONDS = 20.0

#: Turns of the reactor that a stop leaves for connections which the kernel has made.
ACCEPTING_TURNS = 12

EXAMPLE = """curl -d 'data={"type": "hello", "timestamp": 1}'"""
EXAMPLE_WITH_TOKEN = EXAMPLE.replace("-d", '-H "Authorization: Bearer $WRITE_TOKEN" -d')


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
        metrics: the site of the metrics, and where it is to be; None for nowhere.
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
    _metrics: tuple[BankSite, IStreamServerEndpoint] | None
    _observer: ILogObserver | None
    _notifier: Notifier
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
        self._notifier.status(f"opens the store: {self._store.describe()}")
        await self._bank.open()
        await self._offer_metrics()
        port = await _listen(self._endpoint, self._site, "HOST and PORT, or LISTEN, take")
        address = port.getHost()
        self._site.listens_at(address)
        if not (self._access.tokens or self._anonymous or is_local(address)):
            # Now, and not when the rest stops: nobody shall get in before that.
            await maybeDeferred(port.stopListening)
            raise open_to_others(_url(address))
        self._port = port
        url = _url(address)
        if isinstance(self._endpoint, SSL4ServerEndpoint):
            url = url.replace("http:", "https:", 1)
        store = self._store.describe()
        self._log.info("KPIggyBank listens at {url}; store: {store}", url=url, store=store)
        example = EXAMPLE_WITH_TOKEN if self._access.tokens else EXAMPLE
        self._log.debug("try: {example} {url}/wsapi/interaction_data", example=example, url=url)
        self._notifier.ready(f"listens at {url}; store: {store}", self._bank.last)

    async def _offer_metrics(self) -> None:
        if self._metrics is None:
            return
        site, endpoint = self._metrics
        self._metrics_port = await _listen(endpoint, site, "METRICS takes")
        address = self._metrics_port.getHost()
        site.listens_at(address)
        url = _url(address)
        if is_local(address):
            self._log.info("metrics are at {url}/metrics", url=url)
        else:
            self._log.warn("metrics are at {url}/metrics, for who can reach it", url=url)

    async def _end_metrics(self) -> None:
        if self._metrics is not None and self._metrics_port is not None:
            await maybeDeferred(self._metrics_port.stopListening)
            await self._metrics[0].drain(STOP_SECONDS)

    def _fail(self, failure: Failure) -> None:
        if self._stopping:
            return  # whatever it waited for was given up
        reason = failure.getErrorMessage()
        if failure.check(StoreError, ConfigError):
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
        # Who asks it to end as well would see the reactor complain that it does already.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
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
        await self._end_metrics()
        await self._store.close()
        if self._port is not None:
            self._log.info("KPIggyBank has stopped")


async def _listen(endpoint: IStreamServerEndpoint, site: BankSite, takes: str) -> IListeningPort:
    """Listen at what a setting says; raises ConfigError where that cannot be."""
    try:
        port: IListeningPort = await endpoint.listen(site)
    except (CannotListenError, OSError, OverflowError, ValueError) as error:
        reason = one_line(str(error))
        raise ConfigError(f"{takes} a free address of this machine: {reason}") from error
    return port


def _url(address: IAddress) -> str:
    match address:
        case object(host=str(host), port=int(port)):
            return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        case object(name=bytes(name)):
            return f"unix:{name.decode(errors='replace')}"
        case _:
            return str(address)


def open_to_others(place: str) -> ConfigError:
    """The refusal to listen where everybody may come, without any tokens."""
    return ConfigError(
        f"others than this machine may reach {place}, so either set tokens (WRITE_TOKEN and "
        "READ_TOKEN, or WRITE_TOKEN_FILE and READ_TOKEN_FILE), or ALLOW_ANONYMOUS=1 to let "
        "everybody in"
    )
