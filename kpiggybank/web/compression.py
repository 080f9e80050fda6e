"""Bodies that come compressed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from kpiggybank.web.answers import TooLarge
from kpiggybank.web.query import BadQuery

#: Bytes that go into the expansion, and come out of it, at a time.
_PIECE_BYTES = 2**16
#: Gzip allows several parts, one after the other; such as a log in pieces has a few.
_MAX_MEMBERS = 64
_GZIP = zlib.MAX_WBITS + 16


def gunzip(body: bytes, limit: int) -> Iterator[bytes]:
    """What was compressed, in pieces of 64 KiB at the most, which are not expanded ahead.

    Raises:
        TooLarge: there is more than so many bytes.
        BadQuery: this is not gzip, is cut short, or has something else behind it.
    """
    size = 0
    source = memoryview(body)
    inflater = zlib.decompressobj(_GZIP)
    members = 1
    more = True
    while more:
        if inflater.eof:
            inflater = zlib.decompressobj(_GZIP)
            members += 1
        piece = source[:_PIECE_BYTES]
        if members > _MAX_MEMBERS:
            raise BadQuery(f"the body has more than {_MAX_MEMBERS} parts of gzip")
        try:
            text = inflater.decompress(piece, _PIECE_BYTES)
        except zlib.error:
            raise BadQuery("the body is not gzip, or there is something else behind it") from None
        left = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        source = source[len(piece) - len(left) :]
        size += len(text)
        if size > limit:
            raise TooLarge(f"a body may have {limit} bytes when it is expanded")
        if text:
            yield text
        # Without a byte left of it, what it holds back may still come out.
        more = bool(source) or (bool(text) and not inflater.eof)
    if not inflater.eof:
        raise BadQuery("the body is gzip that is cut short")
