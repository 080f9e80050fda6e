"""Bytes that come in pieces, cut into lines."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

#: Bytes of one line at the most.
LINE_BYTES = 16 * 2**20


class LineTooLong(Exception):
    """More bytes came without an end of line than one line may have."""


@attrs.define(eq=False)
class LineCutter:
    r"""Cuts bytes that come in pieces of any size into lines that end with LF or CR LF.

    It works on bytes, so a character split between two pieces comes out whole; and on a buffer that
    only grows, so a long line in many small pieces costs no more than its length.
    """

    _limit: int = LINE_BYTES
    _rest: bytearray = attrs.field(factory=bytearray, init=False, repr=False)

    def cut(self, piece: bytes) -> Iterator[bytes]:
        """Take the next piece, and give each line that it completes, without its end.

        Raises:
            LineTooLong: after the lines before it were given.
        """
        *ends, rest = piece.split(b"\n")
        for end in ends:
            self._add(end)
            line = bytes(self._rest).removesuffix(b"\r")
            self._rest = bytearray()
            yield line
        self._add(rest)

    def _add(self, part: bytes) -> None:
        if len(self._rest) + len(part) > self._limit:
            raise LineTooLong(f"a line has more than {self._limit} bytes")
        self._rest += part
