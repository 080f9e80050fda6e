"""The live page at `/` and its files, which are read once."""

from __future__ import annotations

from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

import attrs
from twisted.web.http import CACHED
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from kpiggybank.web.answers import POLICY, answer, refuse
from kpiggybank.web.brief import OPERATIONS, Operation

#: Where the files of the page are.
FOLDER = Path(__file__).parent / "page"
#: In the page, the place of what `brief` knows.
_PLACE = "<!-- operations -->"
_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
#: All comes from here, and nothing that an event says can become a part of the page.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)


@attrs.frozen
class File:
    """One file as it is sent."""

    content_type: bytes
    body: bytes
    tag: bytes = attrs.field(init=False)

    @tag.default
    def _digest(self) -> bytes:
        return b'"%b"' % sha256(self.body).hexdigest()[:32].encode()


@implementer(IResource)
@attrs.define(eq=False)
class Pages:
    """Answers for the page and its files, and leaves all else to another resource.

    Args:
        others: that one; a leaf.
    """

    _others: IResource
    _files: dict[bytes, File] = attrs.field(init=False)

    isLeaf = True

    @_files.default
    def _read(self) -> dict[bytes, File]:
        return read_files()

    def render(self, request: Any) -> Any:
        """Answer a `BankRequest`, now or later."""
        file = self._files.get(request.path)
        if file is None:
            return self._others.render(request)
        request.route = request.path.decode()
        request.answer(_answer(request, file))
        return NOT_DONE_YET

    def getChildWithDefault(self, name: bytes, request: Any) -> IResource:
        """It has none: this is a leaf."""
        return self

    def putChild(self, path: bytes, child: IResource) -> None:
        """It takes none: this is a leaf."""
        raise TypeError("a leaf has no children")


def read_files() -> dict[bytes, File]:
    """The files of the page, by the paths at which they are served."""
    files = {
        f"/page/{path.relative_to(FOLDER).as_posix()}".encode(): File(
            _TYPES[path.suffix], path.read_bytes()
        )
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in _TYPES
    }
    index = files.pop(b"/page/index.html")
    brief = "".join(map(_described, OPERATIONS))
    page = index.body.decode().replace(_PLACE, brief)
    return {b"/": File(index.content_type, page.encode()), **files}


def _answer(request: Any, file: File) -> bytes:
    if request.method not in (b"GET", b"HEAD"):
        request.setHeader(b"Allow", b"GET, HEAD")
        return refuse(request, 405, "method_not_allowed", "this route takes GET, HEAD")
    request.setHeader(b"Cache-Control", b"no-cache")
    request.setHeader(POLICY, _POLICY)
    if request.setETag(file.tag) is CACHED:
        return b""
    return answer(request, file.body, content_type=file.content_type)


def _described(operation: Operation) -> str:
    route, summary, example = map(
        escape, (f"{operation.method} {operation.path}", operation.summary, operation.curl)
    )
    return (
        f'<h3 class="route"><code>{route}</code></h3><p class="what">{summary}</p>'
        f'<pre class="try" tabindex="0">{example}</pre>'
    )
