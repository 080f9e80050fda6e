"""The least that a Klein server can do with a POST: say "ok". It prints its port."""

from __future__ import annotations

from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.web.server import Request, Site


class Ok:
    """One route that looks at nothing."""

    app = Klein()

    @app.route("/wsapi/interaction_data", methods=["POST"])
    def ok(self, request: Request) -> bytes:
        """The answer."""
        request.setResponseCode(201)
        request.setHeader(b"Content-Length", b"2")
        return b"ok"


async def main(reactor: Any) -> None:
    """Serve until the end."""
    # Neither does it parse the form, nor keep an access log: KPIggyBank does not either.
    site: Any = Site(Ok().app.resource(), parsePOSTFormSubmission=False, reactor=reactor)
    site.log = lambda request: None
    port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(site)
    print(f"http://127.0.0.1:{port.getHost().port}", flush=True)
    await Deferred()


react(main)
