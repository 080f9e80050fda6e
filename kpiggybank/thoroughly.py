"""The thorough way to read events: each is decoded by itself, checked, and encoded again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from kpiggybank.decoding import decode
from kpiggybank.events import Deposit, EventLimits, InvalidEvent, Number, sortable
from kpiggybank.rules import (
    LIMITS,
    SPACES,
    Steps,
    any_reserved,
    compact,
    deeper,
    limit_size,
    too_deep,
    too_many,
)
from kpiggybank.texts import Texts

#: JSON in memory that is its own, or in that of a larger text.
Text = bytes | memoryview

_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

#: The bytes of a step, and of those that an event counts as beside its own.
_STEP_BYTES, _EVENT_BYTES = 2**15, 100
#: In which an event that is much too deep is looked for, so that its place can be told.
_LOOKED_BYTES = 2**18
#: Of a piece without events, which is 64 KiB at the most.
_NOTHING_BYTES = 2**13


def thoroughly(text: bytes, limits: EventLimits = LIMITS) -> Steps:
    """The events in a text, which are decoded one by one."""
    text = text.strip(SPACES)
    if text.startswith(b"["):
        return (yield from listed(_flat(text, limits), limits))
    timestamp, json = _event(text, 0, limits, "the data")
    return Deposit([timestamp], Texts.of([json]), single=True)


def listed(texts: Iterable[Text | None], limits: EventLimits) -> Steps:
    """The events in some texts, one in each; None stands for a piece of text without any."""
    timestamps: list[Number] = []
    parts: list[Texts] = []
    kept: list[bytes] = []
    work = 0
    for text in texts:
        if text is None:
            work += _NOTHING_BYTES
        else:
            index = len(timestamps)
            if index == limits.events:
                raise too_many(limits)
            timestamp, json = _event(text, index, limits, f"event {index}")
            timestamps.append(timestamp)
            kept.append(json)
            work += len(text) + _EVENT_BYTES
        if work >= _STEP_BYTES:
            parts.append(Texts.of(kept))
            kept.clear()
            yield work
            work = 0
    return Deposit(timestamps, Texts.joined([*parts, Texts.of(kept)]), single=False)


def _flat(text: Text, limits: EventLimits) -> Iterator[Text]:
    """The JSON of each item of a list, and of each item of a list in it."""
    for item in _items(text, limits):
        # Some writers nest lists by mistake: [[event, event], event].
        if bytes(item[:1]) == b"[":
            yield from _items(item, limits)
        else:
            yield item


def _items(text: Text, limits: EventLimits) -> Iterator[Text]:
    try:
        if len(text) <= 2 * limits.events:
            raws: Sequence[Any] = _decode_raws(text)
        else:
            raws = msgspec.structs.astuple(decoder_of_some(limits.events + 1).decode(text))
    except RecursionError:
        index = too_deep(bytes(text[:_LOOKED_BYTES]), limits.depth)
        where = "the data" if index is None else f"event {index}"
        raise InvalidEvent(f"{where} is nested deeper than {limits.depth} levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"the data is not JSON: {error}") from None
    if len(raws) > limits.events and raws[limits.events] is not None:
        raise too_many(limits)  # before any of them is decoded
    for raw in raws:
        if raw is None:
            return
        yield memoryview(raw)


@lru_cache(maxsize=1)
def decoder_of_some(count: int) -> msgspec.json.Decoder[Any]:
    """Decodes the first items of a list, so many; others are passed over, and cost no memory."""
    # As a list, eight megabytes of `[],[],` would be three million objects.
    fields = [(f"item_{index}", msgspec.Raw, None) for index in range(count)]
    return msgspec.json.Decoder(msgspec.defstruct("Items", fields, array_like=True))


def _event(text: Text, index: int, limits: EventLimits, where: str) -> tuple[Number, bytes]:
    """The timestamp of an event, and its JSON."""
    try:
        if len(text) > limits.event_bytes:
            limit_size(len(compact(bytes(text))), index, limits)
        value = decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"{where} is not JSON: {error}") from None
    except RecursionError:
        raise InvalidEvent(f"event {index} is nested deeper than {limits.depth} levels") from None
    if not isinstance(value, dict):
        raise InvalidEvent(f"event {index} is not an object")
    timestamp = value.get("timestamp")
    if type(timestamp) is not int and type(timestamp) is not float:  # a bool is an int, too
        trouble = "is not a finite number" if "timestamp" in value else "is missing"
        raise InvalidEvent(f"event {index}: 'timestamp' {trouble}")
    try:
        sortable(timestamp)
    except InvalidEvent as error:
        raise InvalidEvent(f"event {index}: {error}") from None
    if any_reserved(value.keys()):
        raise InvalidEvent(f"event {index}: a name that begins with '_' is reserved")
    encoded = _encode(value)
    # Counting brackets is cheap and settles it for nearly every event.
    if encoded.count(b"{") + encoded.count(b"[") > limits.depth and deeper(encoded, limits.depth):
        raise InvalidEvent(f"event {index} is nested deeper than {limits.depth} levels")
    limit_size(len(encoded), index, limits)
    return timestamp, encoded
