"""What a setting is, and how its text is read."""

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


def choice(*names: str) -> Callable[[str], str]:
    """One of some words."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    return read


def matching(pattern: str) -> Callable[[str], str]:
    """A text that a pattern describes."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return read


def port(text: str) -> int:
    """A port, or 0."""
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError(text)
    return int(text)


def seconds(text: str) -> float:
    """A time above 0."""
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text) or float(text) == 0:
        raise ValueError(text)
    return float(text)


def listed(pattern: str) -> Callable[[str], tuple[str, ...]]:
    """A list, separated by commas, of what a pattern describes."""

    def read(text: str) -> tuple[str, ...]:
        found = tuple(each.strip() for each in text.split(",")) if text else ()
        for each in found:
            if not re.fullmatch(pattern, each):
                raise ValueError
        return found

    return read


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return read


def tokens_in(text: str) -> tuple[str, ...]:
    """The tokens in a text that has at least one; raises ValueError, which does not tell any."""
    found = tokens(text)
    if not found:
        raise ValueError
    return found


def switch(text: str) -> bool:
    """Yes or no."""
    return choice("0", "1")(text) == "1"


# What HTTP can carry behind `Bearer`, save the comma that stands between two of them.
tokens = listed(r"[!-+\--~]{1,500}")


def size(text: str) -> int:
    """A number of bytes."""
    match = re.fullmatch("([1-9][0-9]{0,9}) ?(|KiB|MiB|GiB)", text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) << {"": 0, "KiB": 10, "MiB": 20, "GiB": 30}[match[2]]


SIZES = "bytes above 0, or such as 256KiB or 8MiB"
COUNTS = "a whole number from 1 to 1000000"
SECONDS = "seconds above 0, up to 9999"
ADDRESS = r"[^\s\x00]+"
