"""What is known beforehand of the members of events that come again and again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import NoneType

import msgspec
from msgspec import Raw

#: Of one object, at the most, and of those within it together; where there are more of them they
#: are no names, but data.
NAMES = 48

#: The type of a member's values: one of these, `NoneType` where all are null, or `Raw`, which may
#: be anything. Each may be null, too. For objects, their own members, none of which is an object.
Kind = type | Mapping[str, "Kind"]
#: The names of members, in order, with the kinds of their values.
Members = Mapping[str, Kind]

#: The JSON that comes out again as it went in where it is read as this type.
_SAME = {
    bool: re.compile(rb"true|false"),
    int: re.compile(rb"0|-?[1-9][0-9]{0,17}"),
    str: re.compile(rb'"[^\\]*"'),
}
#: What JSON does not write as it is.
_ESCAPED = re.compile(r'["\\\x00-\x1f]')

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode


def members_of(events: Sequence[Mapping[str, Raw]]) -> Members | None:
    """The members of some events, None where there are too many or in different orders."""
    values = _values(events)
    if values is None:
        return None
    members = {name: _kind(each) for name, each in values.items()}
    if _are_few(members):
        return members
    return {name: Raw if isinstance(kind, Mapping) else kind for name, kind in members.items()}


def united(known: Members, found: Members) -> Members | None:
    """The members of both, None where they are not of one order, or objects in one only."""
    names = _joined(tuple(known), tuple(found))
    if names is None:
        return None
    members: dict[str, Kind] = {}
    for name in names:
        kind = _common(known.get(name, NoneType), found.get(name, NoneType))
        if kind is None:
            return None
        members[name] = kind
    return members if _are_few(members) else None


def _common(one: Kind, other: Kind) -> Kind | None:
    if one is other or other is NoneType:
        return one
    if one is NoneType:
        return other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return united(one, other)
    return None if isinstance(one, Mapping) or isinstance(other, Mapping) else Raw


def _are_few(members: Members) -> bool:
    return sum(len(kind) for kind in members.values() if isinstance(kind, Mapping)) <= NAMES


def _kind(values: Collection[bytes]) -> Kind:
    """The kind of a member that has had these values."""
    if values and all(value.startswith(b"{") for value in values):
        inner = _values([*map(_decode_object, values)])
        return Raw if inner is None else {name: _type(each) for name, each in inner.items()}
    return _type(values)


def _type(values: Collection[bytes]) -> type:
    if not values:
        return NoneType
    same = (kind for kind, pattern in _SAME.items() if all(map(pattern.fullmatch, values)))
    return next(same, Raw)


def _values(objects: Sequence[Mapping[str, Raw]]) -> dict[str, set[bytes]] | None:
    """The different values of each member but null, None where there are too many names."""
    names = _all_names(objects)
    if names is None:
        return None
    return {
        name: {bytes(each[name]) for each in objects if name in each} - {b"null"} for name in names
    }


def _all_names(objects: Iterable[Iterable[str]]) -> tuple[str, ...] | None:
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
