"""What a bank must answer and tell, worked out on a plain list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import attrs

Doc = Mapping[str, Any]

#: Texts of conditions, and what events meet all of them.
WHERES: Mapping[tuple[str, ...], Callable[[Doc], bool]] = {
    (): lambda doc: True,
    ("kind:a",): lambda doc: doc["kind"] == "a",
    ("kind:ö\u2028",): lambda doc: doc["kind"] == "ö\u2028",
    ("agent.browser:x",): lambda doc: doc["agent"]["browser"] == "x",
    ("n:1", "kind:a"): lambda doc: doc["n"] == 1 and doc["kind"] == "a",
    ("nothing:1",): lambda doc: False,
}


def query_of(where: Sequence[str], **parameters: object) -> str:
    """A query: the conditions, and what of the parameters is not None."""
    pairs = [("where", text) for text in where]
    pairs += [(name, str(value)) for name, value in parameters.items() if value is not None]
    return "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)


@attrs.define(eq=False)
class Kept:
    """An event that was posted, and was or will be acknowledged.

    Attributes:
        doc: the event.
        id: None until its answer has come.
    """

    doc: Doc
    id: str | None = None


@attrs.define(eq=False)
class Posted:
    """A deposit and what must come of it.

    Attributes:
        value: an event or a list of them.
        key: the idempotency key, if there is one.
        kept: its events, None if it must be refused as a conflict.
    """

    value: Any
    key: str | None
    kept: Sequence[Kept] | None


@attrs.define(eq=False)
class Model:
    """All that was posted, in the order of arrival.

    A *place* is a number of changes: the place after so many of them.

    Attributes:
        all: the events.
        places: of the cursors whose place is known.
    """

    all: list[Kept] = attrs.field(factory=list)
    places: dict[str, int] = attrs.field(factory=dict)
    _by_key: dict[str, Posted] = attrs.field(factory=dict)

    @property
    def keys(self) -> Sequence[str]:
        """All idempotency keys that were used."""
        return tuple(self._by_key)

    def value(self, key: str) -> Any:
        """What was first posted with a key."""
        return self._by_key[key].value

    def post(self, value: Any, key: str | None) -> Posted:
        """Take a deposit, unless it is a repeat or a conflict."""
        first = None if key is None else self._by_key.get(key)
        if first is not None:
            return Posted(value, key, first.kept if first.value == value else None)
        kept = [Kept(doc) for doc in (value if isinstance(value, list) else [value])]
        self.all += kept
        posted = Posted(value, key, kept)
        if key is not None and kept:  # a list of nothing takes no id
            self._by_key[key] = posted
        return posted

    def changed(self, change: tuple[str, Any]) -> int:
        """The place after a change, which must be one of the events."""
        for place, kept in enumerate(self.all, 1):
            if kept.id == change[0]:
                assert kept.doc == change[1]
                return place
        raise AssertionError(f"nobody posted {change}")

    def learn(self, cursor: str, place: int) -> None:
        """Know the place of a cursor, which must not contradict what was known."""
        assert self.places.setdefault(cursor, place) == place, (cursor, place, self.places[cursor])

    def wanted(self, where: Sequence[str], start: int = 0, end: int | None = None) -> list[Kept]:
        """The events between two places that meet conditions."""
        return [kept for kept in self.all[start:end] if WHERES[tuple(where)](kept.doc)]

    def span(self, where: Sequence[str], start: int, end: int) -> list[Kept]:
        """The events of a range of timestamps that meet conditions, in the order of a range."""
        found = [kept for kept in self.wanted(where) if start <= kept.doc["timestamp"] <= end]
        return sorted(found, key=lambda kept: kept.doc["timestamp"])  # equals stay in their order
