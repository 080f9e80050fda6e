"""What twistd finds: the options, and how the daemon is made of them."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, ClassVar, NoReturn

from OpenSSL import SSL, crypto
from twisted.internet.endpoints import (
    serverFromString,
)
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from kpiggybank import heap, logs
from kpiggybank.about import about
from kpiggybank.bank import Bank
from kpiggybank.config import Config
from kpiggybank.events import EventLimits
from kpiggybank.files import allow_open_files
from kpiggybank.metrics import CONTENT_TYPE, Metrics
from kpiggybank.notify import Notifier
from kpiggybank.service import BankService, open_to_others
from kpiggybank.settings import SETTINGS
from kpiggybank.stores import open_store
from kpiggybank.tokens import TokenSource, TokenSources
from kpiggybank.values import ConfigError, Setting
from kpiggybank.web.access import Access, reaches_others
from kpiggybank.web.bounds import Limits
from kpiggybank.web.figures import FiguresApi
from kpiggybank.web.journal import Journal
from kpiggybank.web.pages import Pages
from kpiggybank.web.site import BankSite
from kpiggybank.web.wsapi import WsApi

#: Open files beside the clients' connections: the store's, the log, and connections that are told
#: that there are too many.
SPARE_FILES = 200


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

    def parseOptions(self, options: Any = None) -> None:
        """Take what was given; what is no option ends the process with one line and status 1."""
        try:
            super().parseOptions(options)
        except UsageError as error:
            _refuse(f"{error}; twistd kpiggybank --help lists the options")

    def postOptions(self) -> None:
        """Check every setting; a wrong one ends the process with one line and status 1."""
        try:
            self.config = Config.from_environ(os.environ, self)
        except ConfigError as error:
            _refuse(str(error))


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
            raise open_to_others(f"HOST={config.host}")
    except ConfigError as error:
        _refuse(str(error))
    access = Access(tokens, config.cors_origins, config.cors_read, config.allowed_hosts)
    endpoint = _endpoint(reactor, "LISTEN", config.endpoint)
    try:
        store = open_store(config, reactor)
    except ValueError:
        # What was given is not told: a URL may have a password in it.
        _refuse("DB_HOST and DB_PORT take a host and its port, or a URL like https://host:port")
    bank = Bank(store, reactor)
    limits = _limits(config)
    what = about(config.source_url, config.source_commit)
    journal = Journal(config.logs_access)
    figures = FiguresApi(
        Metrics(bank, journal, lambda: len(site.connections), what, reactor).render, CONTENT_TYPE
    )
    # On the main site they are for those who have a token, not for everybody.
    api = WsApi(bank, reactor, config.stall_timeout, limits, what, figures if tokens else None)
    site = BankSite(Pages(api.resource), reactor, limits, journal, access)
    metrics = None
    if config.metrics:
        endpoint_for_metrics = _endpoint(reactor, "METRICS", config.metrics)
        site_of_metrics = BankSite(figures.resource, reactor, access=Access())
        metrics = site_of_metrics, endpoint_for_metrics
    quiet, as_json = config.mode == "prod", config.log_format == "json"
    runner = options.parent if quiet or as_json else None
    observer = None if runner is None else logs.observer(runner, quiet=quiet, as_json=as_json)
    heap.keep_free_memory()
    heap.search_less_for_cycles()
    give_back = LoopingCall(heap.give_back_memory)
    reactor.callWhenRunning(give_back.start, heap.GIVE_BACK_SECONDS, now=False)
    reactor.callWhenRunning(_stop_on_signals, reactor)
    reactor.callWhenRunning(sources.renew_on_hangup, reactor, access.use)
    notifier = Notifier.from_environ(os.environ, reactor)
    return BankService(
        reactor,
        store,
        bank,
        site,
        endpoint,
        access,
        config.allow_anonymous,
        metrics,
        observer,
        notifier,
    )


def _endpoint(reactor: Any, setting: str, text: str) -> IStreamServerEndpoint:
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except LookupError:
        _refuse(f"{setting}={text!r}: systemd has handed over no such socket, or none with a name")
    except (ValueError, TypeError, OSError) as error:
        _refuse(f"{setting} takes a Twisted endpoint string, not {text!r}: {error}")
    except (SSL.Error, crypto.Error, VerifyError):
        _refuse(f"{setting}={text!r} names files that hold no certificate with its key")
    return endpoint


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
