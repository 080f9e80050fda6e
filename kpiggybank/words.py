"""What others say, fit for people and for a log."""

from __future__ import annotations


def one_line(text: str) -> str:
    """A text in one line without control characters, however it was; spaces stand for those."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
