"""Lists of events whose members have names that are known beforehand.

A program sends events of the same few members again and again. To read objects of which the names
are known takes half the time of reading any objects; that they come out again as they went in tells
that there is no other name in them, none twice, and nothing between their parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from types import GenericAlias
from typing import Any

import attrs
import msgspec
from msgspec import UNSET, Raw, UnsetType

from kpiggybank.rules import any_reserved

TIMESTAMP = "timestamp"
#: Of one object, at the most, and of those within it together; where there are more of them they
#: are no names, but data.
NAMES = 48
#: Of lists that could not be read, before their names are learnt: to learn takes a millisecond, as
#: long as to read so much in another way.
LEARN_BYTES = 2**14

_BRACKET = ord("[")
#: What JSON does not write as it is.
_ESCAPED = re.compile(r'["\\\x00-\x1f]')

#: The names of members, in order; with each the names within it, if it is an object.
_Members = Mapping[str, tuple[str, ...] | None]

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_encode_lines = msgspec.json.Encoder().encode_lines


@attrs.frozen
class Listing:
    """The events of a list.

    Attributes:
        lines: their texts, each with the end of its line.
        timestamps: their texts, which are JSON of any kind.
        objects: how many there are: the events, and the objects among their members. There may be
            others within the values, and the names in those may be any.
    """

    lines: bytes
    timestamps: Sequence[Raw]
    objects: int


class _Reader:
    """Reads a list of events that have some of these members, in this order."""

    def __init__(self, members: _Members) -> None:
        kinds = {
            name: Raw if inner is None else _struct(dict.fromkeys(inner, Raw))
            for name, inner in members.items()
        }
        event = _struct(
            {name: kind if kind is Raw else kind | None for name, kind in kinds.items()},
            needed=TIMESTAMP,
        )
        self._decode = msgspec.json.Decoder(GenericAlias(list, event)).decode
        attribute = {name: attrgetter(_attribute(index)) for index, name in enumerate(members)}
        self._attributes = list(attribute.values())
        self._timestamp = attribute[TIMESTAMP]
        self._objects = [(attribute[name], kind) for name, kind in kinds.items() if kind is not Raw]

    def read(self, text: bytes) -> Listing | None:
        """The events in a list, None where a member has another place or a name comes twice.

        Also where there may be white space within it.

        Raises:
            msgspec.DecodeError: it is no list of such events.
        """
        events = self._decode(text)
        lines = _encode_lines(events)
        joined = lines.replace(b"\n", b",")[:-1]
        if len(joined) != len(text) - len(b"[]") or not text.startswith(joined, 1):
            return None
        if b"\t" in lines or b"\r" in lines:
            return None
        if b" " in lines and not self._lists_are_solid(events, lines):
            return None
        objects = len(events)
        for attribute, kind in self._objects:
            objects += list(map(type, map(attribute, events))).count(kind)
        return Listing(lines, list(map(self._timestamp, events)), objects)

    def _lists_are_solid(self, events: Sequence[Any], lines: bytes) -> bool:
        """Whether there is no white space in the lists among the values, as far as can be told."""
        # They are where the first event has them, if all brackets are there.
        brackets = lines.count(b"[")
        for attribute in self._attributes if brackets else ():
            first = attribute(events[0])
            if type(first) is Raw and memoryview(first)[0] == _BRACKET:
                values = [value for value in map(attribute, events) if value is not UNSET]
                lists = b"".join(values)
                if b" " in lists:
                    return False
                brackets -= lists.count(b"[")
        return brackets == 0


@attrs.define(eq=False)
class Shape:
    """The members that events had lately.

    What it has learnt tells how fast a list is read, and never what is read.
    """

    _members: _Members = attrs.field(factory=lambda: {TIMESTAMP: None}, init=False)
    _unread: int = attrs.field(default=0, init=False)
    _reader: _Reader = attrs.field(init=False)

    @_reader.default
    def _its_reader(self) -> _Reader:
        return _Reader(self._members)

    def read(self, text: bytes) -> Listing | None:
        """The events in a list, None where more must be known of it, or it may not be compact.

        Raises:
            msgspec.DecodeError: it may be no list of events.
        """
        try:
            listing = self._reader.read(text)
        except msgspec.ValidationError:  # there is a name that is not known yet
            listing = None
        if listing is None and self._learn(text):
            listing = self._reader.read(text)
        return listing

    def _learn(self, text: bytes) -> bool:
        self._unread += len(text)
        if self._unread < LEARN_BYTES:
            return False
        self._unread = 0
        found = _members_of(_decode_objects(text))
        if found is None or TIMESTAMP not in found or any_reserved(found):
            return False
        self._members = _united(self._members, found) or found
        self._reader = self._its_reader()
        return True


def _attribute(index: int) -> str:
    return f"member_{index}"


def _struct(types: Mapping[str, Any], needed: str | None = None) -> Any:
    """Objects that have these members or some of them, but this one always."""
    names = {_attribute(index): name for index, name in enumerate(types)}
    fields: list[Any] = [
        (attribute, types[name]) if name == needed else (attribute, types[name] | UnsetType, UNSET)
        for attribute, name in names.items()
    ]
    return msgspec.defstruct(
        "Members",
        fields,
        rename=names,
        forbid_unknown_fields=True,
        omit_defaults=True,
        kw_only=True,
        eq=False,
        gc=False,
    )


def _members_of(events: Sequence[Mapping[str, Raw]]) -> _Members | None:
    """The members of some events, None where there are too many or in different orders."""
    names = _all_names(events)
    if names is None:
        return None
    inner = {
        name: _inner({bytes(event[name]) for event in events if name in event}) for name in names
    }
    return inner if _are_few(inner) else dict.fromkeys(names)


def _are_few(members: _Members) -> bool:
    return sum(map(len, filter(None, members.values()))) <= NAMES


def _united(known: _Members, found: _Members) -> _Members | None:
    """The members of both, None where one of them has another order or kind."""
    names = _joined(tuple(known), tuple(found))
    if names is None:
        return None
    united: dict[str, tuple[str, ...] | None] = {}
    for name in names:
        one, other = known.get(name, found.get(name)), found.get(name, known.get(name))
        united[name] = None if one is None or other is None else _joined(one, other)
        if united[name] is None and one is not other:
            return None
    return united if _are_few(united) else None


def _inner(values: Iterable[bytes]) -> tuple[str, ...] | None:
    """The names in the values of a member, None where these are not objects."""
    objects = [value for value in values if value != b"null"]
    if not objects or not all(value.startswith(b"{") for value in objects):
        return None
    return _all_names(map(_decode_object, objects))


def _all_names(objects: Iterable[Mapping[str, Raw]]) -> tuple[str, ...] | None:
    """The names in some objects, in one order; None where there is none, or too many of them."""
    names: tuple[str, ...] = ()
    places: dict[str, int] = {}
    for more in map(tuple, objects):  # which are made one by one, until there are too many names
        if _in_order(more, places):  # so they are joined no more often than there are names
            continue
        joined = _joined(names, more)
        if joined is None:
            return None
        names, places = joined, {name: place for place, name in enumerate(joined)}
    return names


def _in_order(names: Iterable[str], places: Mapping[str, int]) -> bool:
    """Whether all names have places, each after the one before."""
    try:
        found = [places[name] for name in names]
    except KeyError:
        return False
    return found == sorted(found)


def _joined(names: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...] | None:
    """All these names in one order, None where there is none, or it takes more to read them."""
    if len(more) > NAMES:
        return None
    joined = list(names)
    place = 0
    for name in more:
        if name not in names:
            joined.insert(place, name)
        elif joined.index(name) < place:
            return None
        place = joined.index(name) + 1
    if len(joined) > NAMES or any(map(_ESCAPED.search, joined)):
        return None
    return tuple(joined)
