"""Every setting once: its variable, its option, its default, and what it accepts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs


class ConfigError(ValueError):
    """A setting cannot be used; the text is one line that names it and what it accepts."""


@attrs.frozen
class Setting:
    """One setting.

    Attributes:
        variable: the environment variable; in lower case, the attribute of `Config`.
        default: used where neither the option nor the variable says anything.
        doc: what it is, for `--help`.
        accepts: what a value must be, completing "DB_PORT takes ...".
        read: the value of a text; raises ValueError if it is none.
        empty: whether an empty text is a value, not the wish for the default.
    """

    variable: str
    default: str
    doc: str
    accepts: str
    read: Callable[[str], Any]
    empty: bool = False

    @property
    def attribute(self) -> str:
        """The name in `Config`."""
        return self.variable.lower()

    @property
    def option(self) -> str:
        """The long option without its dashes."""
        return self.attribute.replace("_", "-")

    def value(self, text: str) -> Any:
        """The value of a text.

        Raises:
            ConfigError: the text is not what the setting accepts.
        """
        try:
            return self.read(text)
        except ValueError:
            raise ConfigError(f"{self.variable} takes {self.accepts}, not {text!r}") from None


def _choice(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    return read


def _matching(pattern: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return read


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError(text)
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text) or float(text) == 0:
        raise ValueError(text)
    return float(text)


_SECONDS = "seconds above 0, up to 9999"
_ADDRESS = r"[^\s\x00]+"

SETTINGS = (
    Setting(
        "DB_BACKEND",
        "couchdb",
        "where events are kept",
        "couchdb, sqlite, memory or dummy",
        _choice("couchdb", "sqlite", "memory", "dummy"),
    ),
    Setting(
        "DB_HOST",
        "127.0.0.1",
        "CouchDB's host, or its URL, such as https://couch.example:6984",
        "a host or a URL",
        _matching(_ADDRESS),
    ),
    Setting(
        "DB_PORT",
        "5984",
        "CouchDB's port; a URL carries its own",
        "a whole number from 0 to 65535",
        _port,
    ),
    Setting(
        "DB_NAME",
        "bid_kpi",
        "the database's name; SQLite's file is this and .sqlite3",
        "a letter, then letters, digits and _$()+-",
        _matching(r"[A-Za-z][A-Za-z0-9_$()+-]{0,199}"),
    ),
    Setting("DB_USER", "kpiggybank", "CouchDB's user", "a name", str, empty=True),
    Setting("DB_PASS", "kpiggybank", "that user's password", "a text", str, empty=True),
    Setting(
        "DB_CONNECT_TIMEOUT",
        "2",
        "seconds in which CouchDB must accept a connection",
        _SECONDS,
        _seconds,
    ),
    Setting(
        "DB_ANSWER_TIMEOUT",
        "4",
        "seconds in which an answer of CouchDB must begin, and that it may be silent within",
        _SECONDS,
        _seconds,
    ),
    Setting(
        "DB_TOTAL_TIMEOUT",
        "4.5",
        "seconds that CouchDB has for anything before we answer 503",
        _SECONDS,
        _seconds,
    ),
    Setting("HOST", "127.0.0.1", "the address to listen at", "an address", _matching(_ADDRESS)),
    Setting(
        "PORT",
        "3000",
        "the port to listen at; 0 lets the system choose",
        "a whole number from 0 to 65535",
        _port,
    ),
    Setting(
        "LISTEN",
        "",
        "a Twisted endpoint to listen at instead of HOST and PORT, such as unix:/run/kpi.sock",
        "a Twisted endpoint string",
        str,
    ),
    Setting(
        "STALL_TIMEOUT",
        "60",
        "seconds after which a client that takes nothing of a stream or range is cut off",
        _SECONDS,
        _seconds,
    ),
    Setting(
        "DATA_DIR",
        "",
        "the folder of SQLite's file; default systemd's STATE_DIRECTORY, else the working folder",
        "a folder",
        str,
    ),
    Setting(
        "MODE",
        "dev",
        "dev logs in full, prod only warnings and one line for start and stop",
        "dev or prod",
        _choice("dev", "prod"),
    ),
    Setting(
        "LOG_FORMAT",
        "text",
        "how the log is written; json is an object a line",
        "text or json",
        _choice("text", "json"),
    ),
    Setting(
        "ACCESS_LOG",
        "",
        "whether each request is a line in the log; default on in dev, off in prod",
        "on or off",
        _choice("", "on", "off"),
    ),
    Setting(
        "METRICS",
        "",
        "a Twisted endpoint where Prometheus finds /metrics, such as tcp:9090:interface=127.0.0.1",
        "a Twisted endpoint string",
        str,
    ),
    Setting("SOURCE_URL", "", "where the code is, for /__version__", "a text", str),
    Setting(
        "SOURCE_COMMIT",
        "",
        "which commit runs, for /__version__; default that of the checkout, if it is one",
        "a text",
        str,
    ),
)
