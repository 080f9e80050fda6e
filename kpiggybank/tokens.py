"""Who is let in: the tokens, where they are told, and how one is compared with them."""

from __future__ import annotations

import codecs
import os
import re
import signal
import stat
from collections.abc import Callable, Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Any

import attrs
from twisted.logger import Logger

from kpiggybank.values import ConfigError, tokens_in

#: Of a file of tokens, in bytes; a longer one is none.
MAX_FILE_BYTES = 64 * 2**10

_BETWEEN = re.compile(r"[ \t]*[\r\n,][\s,]*")


@attrs.frozen
class Tokens:
    """The tokens in force, of which nothing is kept but digests.

    Attributes:
        write: of those that may post.
        read: of those that may read and follow; one may be in both.
    """

    write: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    read: tuple[bytes, ...] = attrs.field(default=(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.write or self.read)

    def may(self, token: bytes) -> tuple[bool, bool]:
        """Whether a token may write, and whether it may read.

        How long this takes does not depend on what is in the token, nor on which one it is.
        """
        digest = sha256(token).digest()
        return _is_among(digest, self.write), _is_among(digest, self.read)


def _is_among(digest: bytes, known: Iterable[bytes]) -> bool:
    # All of them are looked at, whichever it is.
    return sum([compare_digest(digest, each) for each in known]) > 0


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


@attrs.frozen
class TokenSource:
    """Where the tokens of one kind are told.

    Attributes:
        given: those told as they are.
        variable: the setting that names a file of further ones.
        path: that file; empty for none.
    """

    given: tuple[str, ...] = attrs.field(repr=False)
    variable: str
    path: str

    def read(self) -> tuple[bytes, ...]:
        """The digests of all tokens that are told now.

        Raises:
            ConfigError: the file cannot be read, or is not one of tokens.
        """
        found = self.given + (self._in_file() if self.path else ())
        return tuple(sha256(token.encode()).digest() for token in dict.fromkeys(found))

    def _in_file(self) -> tuple[str, ...]:
        takes = f"{self.variable} takes a file of tokens, by line or comma; {self.path!r}"
        try:
            # What is no file, such as a pipe, might keep everybody waiting.
            with open(self.path, "rb", opener=_at_once) as file:
                is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                text = file.read(MAX_FILE_BYTES + 1) if is_file else b""
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            raise ConfigError(f"{takes} cannot be read: {reason}") from None
        if not is_file:
            raise ConfigError(f"{takes} is no file")
        if len(text) > MAX_FILE_BYTES:
            raise ConfigError(f"{takes} is larger than {MAX_FILE_BYTES} bytes")
        try:
            text = text.removeprefix(codecs.BOM_UTF8)
            return tokens_in(_BETWEEN.sub(",", text.decode("ascii")).strip(","))
        except ValueError:
            raise ConfigError(f"{takes} has none, or what is none") from None


@attrs.frozen
class TokenSources:
    """Where the tokens of both kinds are told."""

    write: TokenSource
    read: TokenSource

    _log = Logger()

    def tokens(self) -> Tokens:
        """Those that are told now; raises ConfigError."""
        return Tokens(self.write.read(), self.read.read())

    def renew_on_hangup(self, reactor: Any, use: Callable[[Tokens], None]) -> None:
        """Make SIGHUP read the files anew; what is wrong with them leaves the old tokens in force.

        Where there are no files it does nothing, save on a terminal: there, it ends the process as
        before, for then the terminal is gone.

        Args:
            reactor: it runs.
            use: is given the new tokens.
        """
        if not (self.write.path or self.read.path) and os.isatty(0):
            return

        def renew() -> None:
            try:
                tokens = self.tokens()
            except ConfigError as error:
                self._log.warn("the tokens stay as they were: {reason}", reason=str(error))
            else:
                use(tokens)
                self._log.info("the tokens were read anew")

        signal.signal(signal.SIGHUP, lambda number, frame: reactor.callFromThread(renew))
