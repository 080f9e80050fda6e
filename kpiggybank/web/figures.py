"""The door for whoever collects metrics."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import attrs
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request

from kpiggybank.web.answers import answer, answer_failure
from kpiggybank.web.routes import Routes


@attrs.define(eq=False, slots=False)  # Klein keeps its bound copy on the instance
class FiguresApi:
    """One route, which answers with all metrics.

    Args:
        render: makes them.
        content_type: of what it makes.
    """

    _render: Callable[[], Coroutine[Deferred[Any], Any, bytes]]
    _content_type: bytes

    app = Klein()
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False

    @property
    def resource(self) -> IResource:
        """The route as a resource."""
        return Routes(self.app, self.failed)

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: Request) -> bytes:
        """All metrics."""
        return answer(request, await self._render(), content_type=self._content_type)

    @app.handle_errors(Exception)
    def failed(self, request: Any, failure: Failure) -> Any:
        """The one border where failures become answers."""
        return answer_failure(request, failure)
