"""What is in a body, without steps."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import wraps
from typing import ParamSpec, TypeVar

from kpiggybank import parsing
from kpiggybank import quickly as quick
from kpiggybank import thoroughly as thorough

P = ParamSpec("P")
T = TypeVar("T")


def _at_once(read: Callable[P, Generator[int, None, T]]) -> Callable[P, T]:
    @wraps(read)
    def in_one_go(*args: P.args, **keywords: P.kwargs) -> T:
        steps = read(*args, **keywords)
        while True:
            try:
                assert next(steps) >= 0
            except StopIteration as end:
                result: T = end.value
                return result

    return in_one_go


from_form = _at_once(parsing.from_form)
from_json = _at_once(parsing.from_json)
from_lines = _at_once(parsing.from_lines)
quickly = _at_once(quick.quickly)
thoroughly = _at_once(thorough.thoroughly)
