"""The least that a Klein server can do with a form: have it parsed, look at its field, say "ok".

It prints its port.
"""

from __future__ import annotations

from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.web.server import Request, Site


class Ok:
    """One route, which takes the field and keeps nothing."""

    app = Klein()

    @app.route("/wsapi/interaction_data", methods=["POST"])
    def ok(self, request: Request) -> bytes:
        """The answer."""
        request.args[b"data"][0]
        request.setResponseCode(201)
        request.setHeader(b"Content-Length", b"2")
        return b"ok"


async def main(reactor: Any) -> None:
    """Serve until the end."""
    site: Any = Site(Ok().app.resource(), reactor=reactor)
    site.log = lambda request: None  # no access log: KPIggyBank keeps none either
    port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(site)
    print(f"http://127.0.0.1:{port.getHost().port}", flush=True)
    await Deferred()


react(main)
