"""Who gets into the real daemon, where it may listen, and what of strangers gets into its log."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from ssl import create_default_context
from time import monotonic

import pytest
import pytest_twisted

from kpiggybank.service import STOP_SECONDS
from tests.integration.certificates import certificate_for_localhost
from tests.integration.daemon import (
    ADOPTED,
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
from tests.integration.refusal import refusal_of

MEMORY = {"DB_BACKEND": "memory"}
PING = get("/wsapi/ping")


def shown(token: str) -> bytes:
    """The line of a head that shows a token."""
    return f"Authorization: Bearer {token}".encode()


def save(*head: bytes) -> bytes:
    """A request that saves an event."""
    return post({"timestamp": 1}, b"Connection: close", *head)


def count(token: str) -> bytes:
    """A request that reads."""
    line = f"\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    return get(f"{EVENTS}/count").replace(b"\r\n\r\n", line)


async def refusal(
    folder: Path, environ: Mapping[str, str], listener: socket.socket | None = None
) -> str:
    """The one line with which a daemon ends that may not start."""
    return await refusal_of(Daemon(folder, (), MEMORY | dict(environ), listener=listener))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A folder with a certificate for localhost, which is also the authority to trust."""
    folder = tmp_path / "tls"
    folder.mkdir()
    (folder / "server.pem").write_bytes(certificate_for_localhost())
    return folder


@pytest.mark.parametrize(
    "environ",
    [
        {"HOST": "0.0.0.0"},
        {"HOST": "::"},
        {"LISTEN": "tcp:0"},
        {"LISTEN": "tcp6:0"},
        {"LISTEN": "tcp:0:interface=0.0.0.0"},
        {"LISTEN": "ssl:0:privateKey=tls/server.pem"},
    ],
    ids=str,
)
@pytest_twisted.ensureDeferred
async def test_open_to_others(environ: dict[str, str], certificate: Path) -> None:
    """An address that others can reach is not listened at; the line names both ways out."""
    line = await refusal(certificate.parent, environ)
    assert "WRITE_TOKEN" in line
    assert "ALLOW_ANONYMOUS=1" in line


@pytest_twisted.ensureDeferred
async def test_adopted_socket_open_to_others(tmp_path: Path) -> None:
    """So with a socket of systemd, whose address is known only when we have it."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        line = await refusal(tmp_path, {"LISTEN": ADOPTED}, listener)
    assert "ALLOW_ANONYMOUS=1" in line


@pytest.mark.parametrize("way_out", [{"ALLOW_ANONYMOUS": "1"}, {"READ_TOKEN": "r"}], ids=str)
@pytest.mark.parametrize("place", [{"HOST": "0.0.0.0"}, {"LISTEN": "tcp:0"}], ids=str)
@pytest_twisted.ensureDeferred
async def test_ways_out(place: dict[str, str], way_out: dict[str, str], tmp_path: Path) -> None:
    """Both ways out work."""
    async with Daemon(tmp_path, environ=MEMORY | place | way_out) as daemon:
        url, _ = await daemon.listening()
        answer = await ask(int(url.rpartition(":")[2]), count("r"))
        assert (answer.status, answer.body) == (200, b"0")
        assert await daemon.terminate() == 0


@pytest_twisted.ensureDeferred
async def test_unix_socket(tmp_path: Path) -> None:
    """A Unix socket is open without tokens, under any name."""
    path = tmp_path / "kpi.sock"
    async with Daemon(tmp_path, environ=MEMORY | {"LISTEN": f"unix:{path}"}) as daemon:
        request = PING.replace(b"127.0.0.1", b"anything")
        assert (await ask(f"unix:{path}", request)).body == b"pong"
        assert await daemon.terminate() == 0


@pytest.mark.parametrize("kind", ["WRITE_TOKEN_FILE", "READ_TOKEN_FILE"])
@pytest_twisted.ensureDeferred
async def test_file_without_tokens(kind: str, tmp_path: Path) -> None:
    """A file that has no tokens ends the start."""
    path = tmp_path / "tokens"
    path.write_bytes(b"\n")
    line = await refusal(tmp_path, {kind: str(path)})
    assert kind in line and str(path) in line


@pytest.mark.parametrize("variable", ["WRITE_TOKEN", "READ_TOKEN"])
@pytest_twisted.ensureDeferred
async def test_text_that_is_no_token(variable: str, tmp_path: Path) -> None:
    """Nor is one that is told as it is, and is none."""
    line = await refusal(tmp_path, {variable: "s3cret s3cret"})
    assert variable in line
    assert "s3cret" not in line


@pytest.mark.parametrize("runner", [TWISTD, TWIST], ids=["twistd", "twist"])
@pytest_twisted.ensureDeferred
async def test_hangup(runner: tuple[str, ...], tmp_path: Path) -> None:
    """HUP, and nothing else, brings the tokens of a changed file; one that is bad changes none."""
    path = tmp_path / "tokens"
    path.write_text("one\n")
    environ = MEMORY | {"WRITE_TOKEN_FILE": str(path), "READ_TOKEN": "told"}
    async with Daemon(tmp_path, environ=environ, runner=runner) as daemon:

        async def statuses() -> list[int]:
            tokens = ("one", "two", "three", "told")
            return [(await ask(daemon.port, save(shown(token)))).status for token in tokens]

        assert await statuses() == [201, 401, 401, 401]
        path.write_text("two,three\n")
        assert await statuses() == [201, 401, 401, 401]
        daemon.signal("HUP")
        await daemon.says("the tokens were read anew")
        assert await statuses() == [401, 201, 201, 401]
        path.write_text("")
        daemon.signal("HUP")
        await daemon.says("the tokens stay as they were: WRITE_TOKEN_FILE")
        assert await statuses() == [401, 201, 201, 401]
        path.unlink()
        daemon.signal("HUP")
        await daemon.says("the tokens stay as they were: .*No such file")
        assert (await ask(daemon.port, count("told"))).json == 6
        assert await daemon.terminate() == 0
        assert not re.search("three|told", daemon.out + daemon.err)


@pytest_twisted.ensureDeferred
async def test_hangup_without_files(tmp_path: Path) -> None:
    """Where there is nothing to read, HUP changes nothing; it does not end the daemon."""
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        daemon.signal("HUP")
        await daemon.says("the tokens were read anew")
        assert (await ask(daemon.port, PING)).body == b"pong"
        assert await daemon.terminate() == 0


@pytest_twisted.ensureDeferred
async def test_name_of_a_stranger(tmp_path: Path) -> None:
    """On loopback, whoever calls the daemon by another name gets nothing."""
    environ = MEMORY | {"ALLOWED_HOSTS": "kpi.example"}
    async with Daemon(tmp_path, environ=environ) as daemon:
        for host, status in (("evil.example", 421), ("kpi.example", 200), ("localhost:1", 200)):
            request = PING.replace(b"127.0.0.1", host.encode())
            assert (await ask(daemon.port, request)).status == status
        assert await daemon.terminate() == 0


@pytest_twisted.ensureDeferred
async def test_tls(certificate: Path) -> None:
    """By an endpoint string, all goes over TLS: answers, refusals, and tokens."""
    listen = "ssl:0:privateKey=tls/server.pem:certKey=tls/server.pem:interface=127.0.0.1"
    environ = MEMORY | {"LISTEN": listen, "WRITE_TOKEN": "w", "READ_TOKEN": "r"}
    async with Daemon(certificate.parent, environ=environ) as daemon:
        url, _ = await daemon.listening()
        scheme, host, port = url.split(":")
        assert (scheme, host) == ("https", "//127.0.0.1")
        place = f"tls:localhost:{port}:trustRoots={certificate}"
        assert (await ask(place, PING)).status == 401
        assert (await ask(place, save(shown("w")))).status == 201
        assert (await ask(place, count("r"))).json == 1
        # A page that came without TLS can be anybody's: it is of another origin.
        for origin, status in ((b"http", 403), (b"https", 201)):
            asked = save(shown("w"), b"Origin: %b://127.0.0.1" % origin)
            assert (await ask(place, asked)).status == status
        wire = await connect(place)
        transport = wire.transport
        assert transport is not None
        head = b"Host: localhost\r\n%b\r\nContent-Length: 99999999" % shown("w")
        transport.write(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % head)
        assert (await wire.answer()).status == 413
        # Without TLS, there is nothing to be had.
        wire = await connect(int(port))
        wire.send(PING)
        assert b"HTTP" not in await wire.rest()
        assert await daemon.terminate() == 0


@pytest.mark.parametrize("asked", [PING.replace(b"close", b"keep-alive"), get(f"{EVENTS}/stream")])
@pytest_twisted.ensureDeferred
async def test_stop_beside_a_silent_client(certificate: Path, asked: bytes) -> None:
    """A TLS client that does not close its half does not hold up a stop until its patience ends."""
    listen = "ssl:0:privateKey=tls/server.pem:certKey=tls/server.pem:interface=127.0.0.1"
    async with Daemon(certificate.parent, environ=MEMORY | {"LISTEN": listen}) as daemon:
        url, _ = await daemon.listening()
        context = create_default_context(cafile=str(certificate / "server.pem"))
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        bare = socket.create_connection(address)
        with context.wrap_socket(bare, server_hostname="localhost") as client:
            client.sendall(asked)
            assert client.recv(999).startswith(b"HTTP/1.1 200")
            began = monotonic()
            assert await daemon.terminate() == 0
            assert monotonic() - began < STOP_SECONDS / 2


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\nx\n", "of another key"])
@pytest_twisted.ensureDeferred
async def test_bad_certificate(content: str, certificate: Path) -> None:
    """Files that hold no certificate with its own key end the start in one line."""
    _, _, key = (certificate / "server.pem").read_text().partition("-----BEGIN EC")
    (certificate / "key.pem").write_text(f"-----BEGIN EC{key}")
    if content == "of another key":
        content = certificate_for_localhost().decode().partition("-----BEGIN EC")[0]
    (certificate / "cert.pem").write_text(content)
    listen = "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"
    assert "cert.pem" in await refusal(certificate, {"LISTEN": listen})


#: What would begin a line of its own, or write over one, if a log had it as it is.
NASTY = "\n2026-01-01 all is well\r\x1b[2K\x00\x85\u2028\u2029\u202e\x7f\t"


@pytest_twisted.ensureDeferred
async def test_log_is_in_lines(tmp_path: Path) -> None:
    """Whatever strangers send, the log is made of lines that begin as ours do."""
    escaped = "".join(f"%{byte:02x}" for byte in NASTY.encode())
    raw = NASTY.encode().replace(b"\n", b"").replace(b"\r", b"").replace(b"\x00", b"")
    nasty = [
        get(f"/{escaped}"),
        get(f"{EVENTS}?id={escaped}"),
        get(f"{EVENTS}?start={escaped}&where={escaped}"),
        get(f"{EVENTS}/stream?since={escaped}"),
        get(f"/{escaped}").replace(b"GET", b"DELETE"),
        b"GET /" + raw + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        raw + b" / HTTP/1.1\r\n\r\n",
        post({"timestamp": 1, "text": NASTY, NASTY: 1}, b"Connection: close"),
        post({"timestamp": NASTY}, b"Connection: close"),
        post({"timestamp": 1, "_": NASTY}, b"Connection: close"),
        *(
            post({"timestamp": 1}, name + b": " + raw, b"Connection: close")
            for name in (b"Idempotency-Key", b"Origin", b"Authorization", b"Content-Encoding")
        ),
        PING.replace(b"127.0.0.1", raw),
        PING.replace(b"Host", b"H\x1bost"),
    ]
    async with Daemon(tmp_path, environ={"DB_BACKEND": "sqlite"}) as daemon:
        statuses = [(await ask(daemon.port, request)).status for request in nasty]
        assert 500 not in statuses
        assert await ask(daemon.port, PING) == Answer(200, b"pong")
        assert await daemon.terminate() == 0
    assert "all is well" not in daemon.out
    for line in daemon.out.split("\n")[:-1]:
        assert re.match(r"\d{4}-\d\d-\d\dT\S+ \[\S+\] ", line), line
        assert line.isprintable(), line
    assert daemon.err == ""


@pytest_twisted.ensureDeferred
async def test_metrics_for_a_read_token(tmp_path: Path) -> None:
    """Where there are tokens, one that may read gets the metrics; elsewhere nobody does."""
    environ = MEMORY | {"WRITE_TOKEN": "w", "READ_TOKEN": "r"}
    async with Daemon(tmp_path, environ=environ) as daemon:

        async def metrics(*lines: bytes) -> Answer:
            head = b"\r\n".join((b"GET /metrics HTTP/1.1", b"Host: 127.0.0.1", *lines))
            return await ask(daemon.port, head + b"\r\nConnection: close\r\n\r\n")

        answer = await metrics(b"Authorization: Bearer r")
        assert answer.status == 200
        assert b"kpiggybank_store_events 0.0" in answer.body
        assert (await metrics(b"Authorization: Bearer w")).status == 401
        assert (await metrics()).status == 401
    async with Daemon(tmp_path, environ=MEMORY) as daemon:
        assert (await metrics()).status == 404
