"""The operator's day: metrics, JSON in the log, and the lines of requests."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.daemon import (
    EVENTS,
    TWIST,
    TWISTD,
    Answer,
    Daemon,
    ask,
    connect,
    get,
    post,
)
from tests.integration.figures import METRICS, metrics_port

SQLITE = {"DB_BACKEND": "sqlite"}
SAVE = post([{"timestamp": 1}, {"timestamp": 2}], b"Connection: close")
RUNNERS = pytest.mark.parametrize("runner", [TWISTD, TWIST], ids=["twistd", "twist"])


@pytest_twisted.ensureDeferred
async def test_metrics(tmp_path: Path) -> None:
    """What was posted, and what it cost, can be scraped at a port of its own, and only there."""
    async with Daemon(tmp_path, environ=SQLITE | METRICS) as daemon:
        port = await metrics_port(daemon)
        assert (await ask(daemon.port, SAVE)).status == 201
        answer = await ask(port, get("/metrics"))
        assert answer.status == 200
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
        }
        assert samples["kpiggybank_events_total", "acknowledged"] == 2
        assert samples["kpiggybank_requests_total", "POST", EVENTS, "2xx"] == 1
        assert samples["kpiggybank_append_duration_seconds_count",] == 1
        assert samples["kpiggybank_write_appends_sum",] == 1
        assert samples["kpiggybank_store_events",] == 2
        assert samples["kpiggybank_store_bytes",] > 0
        assert samples["kpiggybank_store_free_bytes",] >= 0
        assert samples["process_resident_memory_bytes",] > 2**20
        assert (await ask(daemon.port, get("/metrics"))).status == 404
        assert (await ask(port, SAVE)).status == 404
        strange = get("/metrics").replace(b"Host: 127.0.0.1", b"Host: evil.example")
        assert (await ask(port, strange)).status == 421
        beat = await ask(daemon.port, get("/__heartbeat__"))
        assert beat.json["checks"]["disk"]["used_bytes"] > 0
        assert await daemon.terminate() == 0
        assert "Traceback" not in daemon.out + daemon.err


@pytest.mark.parametrize("words", ["taken", "nonsense"])
@pytest_twisted.ensureDeferred
async def test_metrics_that_cannot_be_offered(words: str, tmp_path: Path) -> None:
    """A port that is taken, or nonsense, is one line that names the setting, and status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1" if words == "taken" else words
        daemon = Daemon(tmp_path, environ=SQLITE | {"METRICS": place}).spawn()
        try:
            assert await daemon.ended() == 1
        finally:
            await daemon.kill()
    (line,) = daemon.err.splitlines()
    assert line.startswith("kpiggybank: METRICS takes ")
    assert "Traceback" not in daemon.out


@RUNNERS
@pytest_twisted.ensureDeferred
async def test_log_in_json(runner: tuple[str, ...], tmp_path: Path) -> None:
    """Every line is an object; a request's has its id, a stream's comes when it ends."""
    environ = SQLITE | {"LOG_FORMAT": "json"}
    async with Daemon(tmp_path, environ=environ, runner=runner) as daemon:
        wire = await connect(daemon.port)
        wire.send(f"GET {EVENTS}/stream?token=secret HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode())
        wire.send(b"X-Request-Id: my-stream.1\r\n\r\n")
        await wire.heard(b"\r\n\r\n")
        assert b"X-Request-Id: my-stream.1\r\n" in wire.received
        assert (await ask(daemon.port, get("/a%0a%22b?q=secret"))).status == 404
        for quiet in ("/__heartbeat__", "/__lbheartbeat__", "/__version__"):
            assert (await ask(daemon.port, get(quiet))).status == 200
        wire.close()
        await daemon.says("my-stream.1")
        assert await daemon.terminate() == 0
    lines: list[Any] = [json.loads(line) for line in daemon.out.splitlines()]
    assert all({"time", "level", "namespace", "text"} <= line.keys() for line in lines)
    nowhere, stream = (line for line in lines if line["namespace"] == "kpiggybank.access")
    assert (nowhere["method"], nowhere["path"], nowhere["status"]) == ("GET", "/a%0a%22b", 404)
    assert (stream["path"], stream["request_id"]) == (f"{EVENTS}/stream", "my-stream.1")
    assert stream["end"] == "cut"
    assert "secret" not in daemon.out + daemon.err
    assert "heartbeat" not in daemon.out


@RUNNERS
@pytest_twisted.ensureDeferred
async def test_access_log_in_production(runner: tuple[str, ...], tmp_path: Path) -> None:
    """It is there where it was asked for, besides the lines of start and stop."""
    environ = SQLITE | {"MODE": "prod", "LOG_FORMAT": "json", "ACCESS_LOG": "on"}
    async with Daemon(tmp_path, environ=environ, runner=runner) as daemon:
        assert await ask(daemon.port, get("/wsapi/ping")) == Answer(200, b"pong")
        assert await daemon.terminate() == 0
    first, request, last = map(json.loads, daemon.out.splitlines())
    assert first["text"].startswith("KPIggyBank listens at ")
    assert (request["path"], request["bytes"]) == ("/wsapi/ping", 4)
    assert last["text"] == "KPIggyBank has stopped"
