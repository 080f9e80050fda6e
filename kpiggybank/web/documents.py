"""The description of the API, and the page to try it: what there is to read without a token."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
from klein import Klein
from twisted.web.http import CACHED
from twisted.web.server import Request

from kpiggybank.web.answers import POLICY, answer
from kpiggybank.web.description import DESCRIPTION
from kpiggybank.web.formats import JSON

_FOLDER = Path(__file__).parent / "docs"
_SCRIPT = b"text/javascript; charset=utf-8"
#: RapiDoc brings styles of its own, in elements and in attributes; its scripts are the files.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' "
    b"data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@attrs.frozen
class Document:
    """What is read once and answered as it is.

    Attributes:
        policy: what a browser may do with it; None for nothing, as with all other answers.
    """

    content_type: bytes
    body: bytes
    policy: bytes | None = None
    tag: bytes = attrs.field(init=False)

    @tag.default
    def _digest(self) -> bytes:
        return b'"%b"' % sha256(self.body).hexdigest()[:32].encode()

    def answer(self, request: Request) -> bytes:
        """Answer with it, or with word that it is as the client knows it."""
        request.setHeader(b"Cache-Control", b"no-cache")
        if self.policy is not None:
            request.setHeader(POLICY, self.policy)
        unchanged = request.setETag(self.tag) is CACHED
        request.setHeader(b"ETag", self.tag)  # which twisted.web leaves to its own way of writing
        if unchanged:
            return b""
        return answer(request, self.body, content_type=self.content_type)


#: By path.
DOCUMENTS: Final = {
    "/openapi.json": Document(JSON, msgspec.json.encode(DESCRIPTION)),
    "/docs": Document(b"text/html; charset=utf-8", (_FOLDER / "docs.html").read_bytes(), _POLICY),
    "/docs/docs.js": Document(_SCRIPT, (_FOLDER / "docs.js").read_bytes()),
    "/docs/rapidoc-min.js": Document(_SCRIPT, (_FOLDER / "rapidoc-min.js").read_bytes()),
}


def add_documents(app: Klein) -> None:
    """Make each document a route."""
    for path, document in DOCUMENTS.items():
        app.route(path, methods=["GET"], endpoint=path)(_answering(document))


def _answering(document: Document) -> Any:
    return lambda api, request: document.answer(request)
