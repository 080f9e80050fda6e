"""What a URL's query asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote_to_bytes

import attrs
import msgspec

from kpiggybank.events import Number, Page, Range, sortable
from kpiggybank.where import EVERYTHING, Condition, Where

#: The most events that one page (`limit`) may ask for.
MAX_LIMIT = 10_000
#: The most changes that a stream's `limit` may ask for.
MAX_STREAM_LIMIT = 999_999_999
#: The most conditions (`where`) at a time.
MAX_CONDITIONS = 16
#: What a stream's `heartbeat` is by itself, and at the most.
HEARTBEAT_SECONDS = 15.0
MAX_HEARTBEAT_SECONDS = 60

_number = msgspec.json.Decoder(Number).decode


class BadQuery(ValueError):
    """A parameter is not what it should be; the text is one line that names it."""


def parameters(asked: bytes) -> dict[bytes, list[bytes]]:
    """The values of each parameter of a URL, by its name.

    By the URL standard of today. `twisted.web.http.parse_qs` ends one at a `;`, too, and leaves out
    those without a `=`; `urllib.parse.parse_qs` refuses bytes that are no ASCII.
    """
    found: dict[bytes, list[bytes]] = {}
    for each in asked.replace(b"+", b" ").split(b"&"):
        name, _, value = each.partition(b"=")
        if each:
            found.setdefault(unquote_to_bytes(name), []).append(unquote_to_bytes(value))
    return found


@attrs.frozen
class Query:
    """The parameters of a URL; unknown ones are nobody's business.

    Each may be given once, save `where`.

    Args:
        args: the values of each, as `parameters` has them.
    """

    args: Mapping[bytes, Sequence[bytes]]

    def text(self, name: str) -> str | None:
        """A parameter's text, None where it is not given.

        Raises:
            BadQuery: it is given twice, or is not UTF-8.
        """
        value = self._value(name)
        return None if value is None else _decoded(name, value)

    def _value(self, name: str) -> bytes | None:
        values = self.args.get(name.encode())
        if values is None:  # as most are
            return None
        if len(values) > 1:
            raise BadQuery(f"'{name}' is given more than once")
        return values[0]

    def number(self, name: str) -> Number | None:
        """A JSON number, None where it is not given; raises BadQuery."""
        value = self._value(name)
        if value is None:
            return None
        try:
            number: Number = _number(value)
            sortable(number)
        except ValueError:
            raise BadQuery(f"'{name}' is not a number") from None
        return number

    def choice(self, name: str, *choices: str) -> str:
        """One of some texts, the first where it is not given; raises BadQuery."""
        text = self.text(name)
        if text is not None and text not in choices:
            raise BadQuery(f"'{name}' takes {' or '.join(filter(None, choices))}")
        return text or choices[0]

    @property
    def span(self) -> Range:
        """The range from `start` to `end`; raises BadQuery."""
        return Range(self.number("start"), self.number("end"))

    @property
    def limit(self) -> int | None:
        """The greatest number of events wanted, None for all; raises BadQuery."""
        return self._limit(MAX_LIMIT)

    @property
    def stream_limit(self) -> int | None:
        """The greatest number of changes wanted, None for all; raises BadQuery."""
        return self._limit(MAX_STREAM_LIMIT)

    def _limit(self, most: int) -> int | None:
        text = self.text("limit")
        if text is None:
            return None
        if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= most:
            raise BadQuery(f"'limit' takes a whole number from 1 to {most}")
        return int(text)

    @property
    def heartbeat(self) -> float:
        """Seconds of silence after which a stream gives a sign of life; raises BadQuery."""
        seconds = self.number("heartbeat")
        if seconds is None:
            return HEARTBEAT_SECONDS
        if not 1 <= seconds <= MAX_HEARTBEAT_SECONDS:
            raise BadQuery(f"'heartbeat' takes seconds, from 1 to {MAX_HEARTBEAT_SECONDS}")
        return seconds

    @property
    def where(self) -> Where:
        """The conditions that events must meet; raises BadQuery."""
        values = self.args.get(b"where")
        if values is None:
            return EVERYTHING
        if len(values) > MAX_CONDITIONS:
            raise BadQuery(f"'where' is given more than {MAX_CONDITIONS} times")
        texts = [_decoded("where", value) for value in values]
        try:
            return Where(tuple(map(Condition.of, texts)))
        except ValueError as error:
            raise BadQuery(f"'where': {error}") from None

    def page(self, limit: int) -> Page:
        """The first page that is asked for, of `limit` events at the most; raises BadQuery."""
        descending = self.choice("descending", "false", "true") == "true"
        return Page(limit, self.text("after"), descending, self.where)

    def continued(self, after: str) -> str:
        """The same query, from another place on."""
        pairs = [
            (name, value)
            for name, values in self.args.items()
            if name != b"after"
            for value in values
        ]
        pairs.append((b"after", after.encode()))
        return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)


def _decoded(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadQuery(f"'{name}' is not UTF-8") from None
