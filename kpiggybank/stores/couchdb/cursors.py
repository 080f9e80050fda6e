"""Cursors and places in ranges as clients get them: CouchDB's own, with a seal."""

from __future__ import annotations

from hashlib import blake2b

import attrs

from kpiggybank.interfaces import InvalidCursor

_SEAL_BYTES = 6


@attrs.frozen
class Seal:
    """Marks texts as ours, and knows them again: `12-g1AAAA~3f0c9a7be210`.

    CouchDB takes nearly anything for a sequence, and one of a database that was deleted since as
    well: it skips or repeats without a word. The seal depends on the database's life, so that such
    a cursor is refused by every daemon, and a good one taken by all.

    Args:
        kind: what is sealed; other kinds are refused.
        life: the name of this life of the database.
    """

    kind: str
    life: str

    def seal(self, text: str) -> str:
        """A text, sealed."""
        return f"{text}~{self._mark(text)}"

    def open(self, sealed: str) -> str:
        """The text within a seal.

        Raises:
            InvalidCursor: this database never gave it out.
        """
        text, _, mark = sealed.rpartition("~")
        if not text.isascii() or mark != self._mark(text):
            raise InvalidCursor("the cursor is none that this store has given out")
        return text

    def _mark(self, text: str) -> str:
        content = f"{self.kind} {self.life} {text}".encode()
        return blake2b(content, digest_size=_SEAL_BYTES).hexdigest()
