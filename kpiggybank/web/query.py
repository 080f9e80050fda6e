"""What a URL's query asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import attrs
import msgspec

from kpiggybank.events import Number, Page, Range, sortable

#: The most events that one page (`limit`) may ask for.
MAX_LIMIT = 10_000

_number = msgspec.json.Decoder(Number).decode


class BadQuery(ValueError):
    """A parameter is not what it should be; the text is one line that names it."""


@attrs.frozen
class Query:
    """The parameters of a URL, each given at most once; unknown ones are nobody's business.

    Args:
        args: as `twisted.web.http.Request.args` has them.
    """

    args: Mapping[bytes, Sequence[bytes]]

    def text(self, name: str) -> str | None:
        """A parameter's text, None where it is not given.

        Raises:
            BadQuery: it is given twice, or is not UTF-8.
        """
        values = self.args.get(name.encode(), ())
        if not values:
            return None
        if len(values) > 1:
            raise BadQuery(f"'{name}' is given more than once")
        try:
            return values[0].decode()
        except UnicodeDecodeError:
            raise BadQuery(f"'{name}' is not UTF-8") from None

    def number(self, name: str) -> Number | None:
        """A JSON number, None where it is not given; raises BadQuery."""
        text = self.text(name)
        if text is None:
            return None
        try:
            number: Number = _number(text.encode())
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
        text = self.text("limit")
        if text is None:
            return None
        if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= MAX_LIMIT:
            raise BadQuery(f"'limit' takes a whole number from 1 to {MAX_LIMIT}")
        return int(text)

    def page(self, limit: int) -> Page:
        """The first page that is asked for, of `limit` events at the most; raises BadQuery."""
        descending = self.choice("descending", "false", "true") == "true"
        return Page(limit, self.text("after"), descending)

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
