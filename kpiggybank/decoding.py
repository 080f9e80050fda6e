"""JSON as Python's objects."""

from __future__ import annotations

import math

import msgspec


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("Number out of range")
    return number


#: The value of a JSON text; raises `msgspec.DecodeError`, `UnicodeDecodeError` or `RecursionError`.
#: Python reads the numbers with a point or an exponent: of those that are very large or very small,
#: a single one takes msgspec 10 us.
decode = msgspec.json.Decoder(float_hook=_finite).decode
