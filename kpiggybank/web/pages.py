"""The live page at `/` and its files, which are read once."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from kpiggybank.web.answers import refuse
from kpiggybank.web.description import Operation, operations
from kpiggybank.web.documents import Document
from kpiggybank.web.routes import Routes

_FOLDER = Path(__file__).parent / "page"
#: In the page, the place of what can be tried.
_PLACE = "<!-- operations -->"
_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
#: All comes from here, and no text of an event can become a part of the page.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)


def _described(operation: Operation) -> str:
    """What the page says of an operation."""
    route, summary, curl, token = map(
        escape,
        (
            f"{operation.method} {operation.path}",
            operation.summary,
            operation.curl.removeprefix("curl"),
            f' -H "Authorization: Bearer ${operation.token}"',
        ),
    )
    # The page shows it once it knows that the server wants one.
    shown = f'<span class="with-token" hidden>{token}</span>' if operation.token else ""
    return (
        f'<details><summary><code>{route}</code> <span class="what">{summary}</span></summary>'
        f'<pre class="try" tabindex="0" role="group" aria-label="{route} with curl">'
        f"curl{shown}{curl}</pre></details>"
    )


def _read() -> dict[str, Document]:
    files = {
        f"/page/{path.relative_to(_FOLDER).as_posix()}": Document(
            _TYPES[path.suffix], path.read_bytes()
        )
        for path in sorted(_FOLDER.rglob("*"))
        if path.suffix in _TYPES
    }
    index = files.pop("/page/index.html")
    page = index.body.decode().replace(_PLACE, "".join(map(_described, operations())))
    return {"/": Document(index.content_type, page.encode(), _POLICY), **files}


#: By path.
PAGE: Final = _read()


@implementer(IResource)
@attrs.define(eq=False)
class Pages:
    """Answers with the page and its files, and leaves all else to another resource.

    Args:
        others: that one; a leaf.
    """

    _others: Routes
    _documents: dict[bytes, Document] = attrs.field(init=False)

    isLeaf = True

    @_documents.default
    def _by_path(self) -> dict[bytes, Document]:
        return {path.encode(): document for path, document in PAGE.items()}

    def route_of(self, path: bytes) -> str:
        """See `Routes.route_of`."""
        if path not in self._documents:
            return self._others.route_of(path)
        return "/" if path == b"/" else "/page/"

    def render(self, request: Any) -> Any:
        """Answer a `BankRequest`, now or later."""
        document = self._documents.get(request.path)
        if document is None:
            return self._others.render(request)
        request.route = self.route_of(request.path)
        if request.method in (b"GET", b"HEAD"):
            body = document.answer(request)
        else:
            request.setHeader(b"Allow", b"GET, HEAD")
            body = refuse(request, 405, "method_not_allowed", "this route takes GET, HEAD")
        request.answer(body)
        return NOT_DONE_YET

    def getChildWithDefault(self, name: bytes, request: Any) -> IResource:
        """Be a leaf."""
        return self

    def putChild(self, path: bytes, child: IResource) -> None:
        """Be a leaf."""
        raise NotImplementedError
