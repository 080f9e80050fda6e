"""Lists of events whose members have names and types that are known beforehand.

A program sends events of the same few members again and again. To read objects of which the names
are known takes half the time of reading any objects; that they come out again as they went in tells
that there is no other name in them, none twice, and nothing between their parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from types import GenericAlias, NoneType
from typing import Annotated, Any

import attrs
import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from kpiggybank.decoding import decode
from kpiggybank.events import Number
from kpiggybank.kinds import Members, members_of, united
from kpiggybank.rules import any_reserved

TIMESTAMP = "timestamp"
#: Of lists that could not be read, before their names are learnt: to learn takes a millisecond, as
#: long as to read so much in another way.
LEARN_BYTES = 2**14
#: Of lists for which what is known was of no use, before all of it is forgotten.
FORGET_BYTES = 2**20

_NUMBERS = frozenset({int, float})  # a bool is an int, too
#: Longer ones may be beyond a double.
_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
#: Stands where a member is not there: unlike `UNSET`, it can be joined with the others.
_ABSENT = Raw()

_decode_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_encode_lines = msgspec.json.Encoder().encode_lines


class Listing(msgspec.Struct, frozen=True, gc=False):
    """The events of a list.

    Attributes:
        lines: their texts, each with the end of its line.
        timestamps: of all.
        values: the texts of all values that may be of any type, with ends of lines between them.
            Some may be empty. All others are null, bools, integers or texts, of the events
            themselves or of objects in them.
    """

    lines: bytes
    timestamps: Sequence[Number]
    values: bytes


class _Reader:
    """Reads a list of events that have some of these members, in this order."""

    def __init__(self, members: Members) -> None:
        self._raw_timestamps = members[TIMESTAMP] is not int
        members = {**members, TIMESTAMP: Raw if self._raw_timestamps else _Int64}
        types: dict[str, Any] = {
            name: _struct(kind) if isinstance(kind, Mapping) else kind
            for name, kind in members.items()
        }
        event = _struct(types, needed=TIMESTAMP)
        self._decode = msgspec.json.Decoder(GenericAlias(list, event)).decode
        getters = dict(zip(members, map(attrgetter, event.__struct_fields__), strict=True))
        self._timestamp = getters[TIMESTAMP]
        self._raws = _getters(event, types)
        self._objects = [
            (getters[name], types[name], _getters(types[name], kind))
            for name, kind in members.items()
            if isinstance(kind, Mapping)
        ]

    def read(self, text: bytes) -> Listing | None:
        """The events in a list, None where a member has another place or a name comes twice.

        Also where there may be white space within it, or a timestamp is no number.

        Raises:
            msgspec.DecodeError: it is no list of such events.
        """
        events = self._decode(text)
        lines = _encode_lines(events)
        joined = memoryview(lines.replace(b"\n", b","))[:-1]
        if len(joined) != len(text) - len(b"[]") or not text.startswith(joined, 1):
            return None
        columns = [b"\n".join(column) for column in self._columns(events)]
        if any(map(_may_be_spaced, columns)):
            return None
        timestamps = list(map(self._timestamp, events))
        if self._raw_timestamps:
            timestamps = decode(b"[%b]" % b",".join(timestamps))
            if not _NUMBERS.issuperset(map(type, timestamps)):
                return None
        return Listing(lines, timestamps, b"\n".join(columns))

    def _columns(self, events: Sequence[Any]) -> Iterator[Iterator[Any]]:
        """The values of each member that may have any."""
        for get in self._raws:
            yield map(get, events)
        for get, kind, raws in self._objects:
            if raws:
                objects = [value for value in map(get, events) if type(value) is kind]
                for raw in raws:
                    yield map(raw, objects)


@attrs.define(eq=False)
class Shape:
    """The members that events had lately.

    What it has learnt tells how fast a list is read, and never what is read.
    """

    _members: Members = attrs.field(init=False)
    _reader: _Reader = attrs.field(init=False)
    _unread: int = attrs.field(default=0, init=False)
    _useless: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._know({TIMESTAMP: NoneType})

    def _know(self, members: Members) -> None:
        self._members, self._reader = members, _Reader(members)

    def read(self, text: bytes) -> Listing | None:
        """The events in a list, None where more must be known of it, or it may not be compact.

        Raises:
            msgspec.DecodeError: it may be no list of events.
        """
        try:
            listing = self._reader.read(text)
        except msgspec.ValidationError:  # there is a name or a type that is not known yet
            listing = None
        if listing is None and self._learn(text):
            listing = self._reader.read(text)
        return listing

    def _learn(self, text: bytes) -> bool:
        self._unread += len(text)
        if self._unread < LEARN_BYTES:
            return False
        self._unread = 0
        found = members_of(_decode_objects(text))
        if found is None or TIMESTAMP not in found or any_reserved(found):
            return False
        self._know(united(self._members, found) or found)
        return True

    def doubt(self, text: bytes) -> None:
        """Hear that a list had to be read in another way: a single odd one may be the cause."""
        self._useless += len(text)
        if self._useless >= FORGET_BYTES:
            self._useless = 0
            self._know({TIMESTAMP: NoneType})


def _struct(types: Mapping[str, Any], needed: str | None = None) -> Any:
    """Objects that have these members or some of them, but this one always."""
    names = {f"member_{index}": name for index, name in enumerate(types)}
    fields: list[Any] = []
    for attribute, name in names.items():
        kind = types[name]
        if name == needed:
            fields.append((attribute, kind))
        elif kind is Raw:
            fields.append((attribute, Raw, _ABSENT))
        else:
            fields.append((attribute, kind | None | UnsetType, UNSET))
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


def _getters(struct: Any, kinds: Mapping[str, Any]) -> Sequence[Callable[[Any], Any]]:
    """What gets the members that may have any value."""
    getters = map(attrgetter, struct.__struct_fields__)
    return [get for get, kind in zip(getters, kinds.values(), strict=True) if kind is Raw]


def _may_be_spaced(values: bytes) -> bool:
    """Whether there may be white space between the parts of some values."""
    return b"\t" in values or b"\r" in values or (b" " in values and b"[" in values)
