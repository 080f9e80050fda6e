"""Which events are wanted, by what is in them: `user_agent.browser:Firefox`."""

from __future__ import annotations

from typing import Any, Final

import attrs
import msgspec

from kpiggybank.decoding import decode

_literal = msgspec.json.Decoder(int | float | bool | None).decode


class _NoLiteral:
    """Stands for the value of a text that no JSON number, `true`, `false` or `null` is."""


_NO_LITERAL: Final = _NoLiteral()


@attrs.frozen
class Condition:
    """One field of an event must equal one value.

    A text equals by its characters, a number by its value (`2` is 2 and 2.0), `true`, `false` and
    `null` by their names; whether the value is one or the other is the event's business, so `2`
    is the number as well as the text. An object or a list equals nothing.

    Attributes:
        path: the names that lead to the field, from the event inwards.
        text: the value as a text.
    """

    path: tuple[str, ...]
    text: str
    _value: Any = attrs.field(init=False, eq=False, repr=False)
    #: What stands in the JSON of every event that meets the condition.
    _trace: bytes = attrs.field(init=False, eq=False, repr=False)

    @classmethod
    def of(cls, text: str) -> Condition:
        """The condition that a text such as `user_agent.browser:Firefox` says.

        Dots separate names, and the first colon ends them.

        Raises:
            ValueError: there is no colon, or a name is empty.
        """
        path, colon, value = text.partition(":")
        names = tuple(path.split("."))
        if not colon or not all(names):
            raise ValueError("it has the form name.name:value")
        return cls(names, value)

    @_value.default
    def _literal_value(self) -> Any:
        if self.text.strip() != self.text:
            return _NO_LITERAL
        try:
            return _literal(self.text.encode())
        except ValueError:
            return _NO_LITERAL

    @_trace.default
    def _necessary_bytes(self) -> bytes:
        # Only of what every writer of JSON writes alike, where it escapes nothing. Looking for it
        # takes a tenth of the time that decoding an event takes.
        name = self.path[-1]
        if not _is_plain(name):
            return b""
        if self._value is _NO_LITERAL and _is_plain(self.text):
            return f'"{name}":"{self.text}"'.encode()
        return f'"{name}":'.encode()

    def may_hold(self, json: bytes) -> bool:
        """Whether it is worth while to decode this event, which is compact JSON."""
        return self._trace in json or b"\\" in json

    def holds(self, event: Any) -> bool:
        """Whether a decoded event meets the condition."""
        found = event
        for name in self.path:
            if not isinstance(found, dict) or name not in found:
                return False
            found = found[name]
        if isinstance(found, str):
            return found == self.text
        if isinstance(found, bool) or found is None:
            return found is self._value
        if isinstance(found, int | float):
            return type(self._value) in (int, float) and bool(found == self._value)
        return False


@attrs.frozen(cache_hash=True)
class Where:
    """Conditions that an event must meet, all of them; without any, every event does."""

    conditions: tuple[Condition, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any condition."""
        return bool(self.conditions)

    def holds(self, json: bytes) -> bool:
        """Whether an event, as compact JSON, meets the conditions."""
        if not all(condition.may_hold(json) for condition in self.conditions):
            return False
        event = decode(json) if self.conditions else None
        return all(condition.holds(event) for condition in self.conditions)


#: What every event meets.
EVERYTHING: Final = Where()


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
