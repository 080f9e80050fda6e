"""The routes of a Klein app as a resource, at less cost than Klein's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from klein import Klein
from klein.resource import KleinResource
from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

from kpiggybank.web.journal import OTHER


class Routes(KleinResource):
    """Finds a route in a table, where its path was spelled as it is written, and answers.

    Klein has werkzeug match every request anew, and makes so much of each answer that both together
    cost more than to take an event. The table is made of the app's own rules; whatever is not in
    it, other spellings of a route as well as what is none, is left to Klein, which does the same.
    Each request is told its route, as it is written, for the journal.

    Args:
        app: the routes; they must be complete, and be answered with bytes or None.
        failed: makes the answer of a request that failed; the app's own handler of errors.
    """

    _log = Logger()

    def __init__(self, app: Klein, failed: Callable[[Any, Failure], Any]) -> None:
        super().__init__(app)
        self._execute = app.execute_endpoint
        self._failed = failed
        self._endpoints = {
            (method.encode(), rule.rule.encode()): (rule.endpoint, rule.rule)
            for rule in app.url_map.iter_rules()
            for method in rule.methods or ()
            if not rule.arguments
        }
        self._names = {path: name for (_, path), (_, name) in self._endpoints.items()}

    def route_of(self, path: bytes) -> str:
        """The route of a path, as it is written; `OTHER` where there is none."""
        return self._names.get(path.rstrip(b"/"), OTHER)

    def render(self, request: Any) -> Any:
        """Answer a `BankRequest`, now or later."""
        found = self._endpoints.get((request.method, request.path))
        if found is None:
            request.prepath = []
            request.postpath = [*map(unquote_to_bytes, request.path[1:].split(b"/"))]
            request.route = self.route_of(b"/" + b"/".join(request.postpath))
            return super().render(request)
        endpoint, request.route = found
        result = maybeDeferred(self._execute, endpoint, request)
        result.addCallbacks(request.answer, self._answer_failure, errbackArgs=(request,))
        result.addErrback(self._cut, request)
        if not request.finished:
            request.wait_for(result)
        return NOT_DONE_YET

    def _answer_failure(self, failure: Failure, request: Any) -> Any:
        if request.channel is not None:
            return maybeDeferred(self._failed, request, failure).addCallback(request.answer)
        # The client has gone, so there is nobody to be told but the log.
        if not failure.check(CancelledError):
            self._log.failure("a request failed after its client had gone", failure)
        # Its frames would keep what was to be sent until cycles are looked for.
        failure.cleanFailure()
        return None

    def _cut(self, failure: Failure, request: Any) -> None:
        self._log.failure("an answer cannot be made", failure)
        if request.channel is not None:
            request.transport.abortConnection()
