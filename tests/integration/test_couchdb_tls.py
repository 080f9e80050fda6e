"""CouchDB over TLS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest_twisted

from tests.couchdb_servers import Place
from tests.integration.certificates import certificate_for_localhost
from tests.integration.daemon import EVENTS, Daemon, ask, get, post
from tests.integration.gate import Gate, gates

__all__ = ["gates"]


@pytest_twisted.ensureDeferred
async def test_couchdb_over_tls(
    pouchdb: Place, gates: Callable[[int], Gate], tmp_path: Path
) -> None:
    """DB_HOST may be an https URL; a certificate that is not trusted is no CouchDB to talk to."""
    await pouchdb.forget()
    path = tmp_path / "couch.pem"
    path.write_bytes(certificate_for_localhost())
    gate = gates(int(pouchdb.url.rpartition(":")[2]))
    gate.open(path)
    environ = {**pouchdb.environ, "DB_HOST": f"https://localhost:{gate.port}", "DB_PORT": "1"}

    stranger = Daemon(tmp_path, environ=environ).spawn()
    try:
        await stranger.says("waiting for CouchDB.*certificate")
        assert await stranger.terminate() == 0
    finally:
        await stranger.kill()
    assert gate.heard == b""

    environ["SSL_CERT_FILE"] = str(path)
    async with Daemon(tmp_path, environ=environ) as daemon:
        _, store = await daemon.listening()
        assert store == f"couchdb, https://localhost:{gate.port}/bid_kpi_test"
        saved = await ask(daemon.port, post({"timestamp": 1}, b"Connection: close"))
        assert saved.status == 201
        assert (await ask(daemon.port, get(EVENTS))).json == [{"timestamp": 1}]
        assert await daemon.terminate() == 0
    assert gate.heard.startswith(b"GET /bid_kpi_test HTTP/1.1")
