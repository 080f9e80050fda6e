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
        secret: whether a complaint must not tell the text.
    """

    variable: str
    default: str
    doc: str
    accepts: str
    read: Callable[[str], Any]
    empty: bool = False
    secret: bool = False

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
            told = "what it was given" if self.secret else repr(text)
            raise ConfigError(f"{self.variable} takes {self.accepts}, not {told}") from None


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


def _listed(pattern: str) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        found = tuple(each.strip() for each in text.split(",")) if text else ()
        for each in found:
            if not re.fullmatch(pattern, each):
                raise ValueError
        return found

    return read


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return read


def tokens_in(text: str) -> tuple[str, ...]:
    """The tokens in a text that has at least one; raises ValueError, which does not tell any."""
    found = _tokens(text)
    if not found:
        raise ValueError
    return found


def _switch(text: str) -> bool:
    return _choice("0", "1")(text) == "1"


# What HTTP can carry behind `Bearer`, save the comma that stands between two of them.
_tokens = _listed(r"[!-+\--~]{1,500}")


def _size(text: str) -> int:
    match = re.fullmatch("([1-9][0-9]{0,9}) ?(|KiB|MiB|GiB)", text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) << {"": 0, "KiB": 10, "MiB": 20, "GiB": 30}[match[2]]


_SIZES = "bytes above 0, or such as 256KiB or 8MiB"
_COUNTS = "a whole number from 1 to 1000000"
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
        "WRITE_TOKEN",
        "",
        "tokens that may post events, separated by commas; other users of this machine can read an "
        "option, so better use the file or the variable",
        "tokens of visible ASCII, separated by commas",
        _tokens,
        secret=True,
    ),
    Setting("WRITE_TOKEN_FILE", "", "a file of such tokens, by line or comma", "a path", str),
    Setting(
        "READ_TOKEN",
        "",
        "tokens that may read and follow; all as for WRITE_TOKEN",
        "tokens of visible ASCII, separated by commas",
        _tokens,
        secret=True,
    ),
    Setting("READ_TOKEN_FILE", "", "a file of such tokens, by line or comma", "a path", str),
    Setting(
        "ALLOW_ANONYMOUS",
        "0",
        "1 lets everybody in who can reach the address, where there are no tokens",
        "0 or 1",
        _switch,
    ),
    Setting(
        "CORS_ORIGINS",
        "",
        "origins, such as https://kpi.example, whose pages may post; separated by commas",
        "origins like https://kpi.example:8443, separated by commas",
        _listed(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"),
    ),
    Setting("CORS_READ", "0", "1 lets those pages read and follow, too", "0 or 1", _switch),
    Setting(
        "ALLOWED_HOSTS",
        "",
        "names by which clients may call this server, separated by commas",
        "names or addresses without a port, separated by commas",
        _listed(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]"),
    ),
    Setting(
        "MAX_BODY",
        "8388608",
        "bytes of a request's body, also when it is expanded",
        _SIZES,
        _size,
    ),
    Setting("MAX_EVENT", "262144", "bytes of one event", _SIZES, _size),
    Setting(
        "MAX_DEPTH",
        "64",
        "levels of arrays and objects in one event",
        "a whole number from 1 to 200",
        _whole(1, 200),
    ),
    Setting(
        "MAX_EVENTS",
        "10000",
        "events in one request",
        "a whole number from 1 to 100000",
        _whole(1, 100_000),
    ),
    Setting(
        "MAX_CONNECTIONS",
        "10000",
        "connections that may be open",
        _COUNTS,
        _whole(1, 1_000_000),
    ),
    Setting(
        "MAX_REQUESTS",
        "2000",
        "requests that may be in work, streams aside",
        _COUNTS,
        _whole(1, 1_000_000),
    ),
    Setting(
        "MAX_REQUEST_BYTES",
        "67108864",
        "bytes that the bodies of these may have together",
        _SIZES,
        _size,
    ),
    Setting(
        "HEAD_TIMEOUT", "10", "seconds for the head of a request to arrive", _SECONDS, _seconds
    ),
    Setting(
        "BODY_TIMEOUT", "30", "seconds for the body of a request to arrive", _SECONDS, _seconds
    ),
    Setting(
        "IDLE_TIMEOUT",
        "60",
        "seconds for which a connection may wait for its next request",
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
)
