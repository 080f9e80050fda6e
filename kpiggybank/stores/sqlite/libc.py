"""What the C library has and Python has not."""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def function(name: str) -> Callable[..., int] | None:
    """A function by its name, None where there is none: on another system, or an old one."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
    return found
