"""The routes as such: their spelling, their methods, HEAD, and what else is answered."""

from __future__ import annotations

import pytest
from twisted.logger import LogEvent

from kpiggybank.interfaces import StoreDamaged, StoreFull, StoreUnavailable
from kpiggybank.web import ranges
from tests.web_client import JSON, NDJSON, ROOT, Door, StagedStore

READING = ["", "/rows", "/count", "/last", "/stream"]
ROUTES = [*(ROOT + path for path in READING), "/wsapi/ping"]


def test_ping() -> None:
    """The server says that it is there."""
    answer = Door().request("GET", "/wsapi/ping")
    assert (answer.status, answer.body) == (200, b"pong")
    assert answer.headers["content-type"] == "text/plain"


def test_heartbeat_asks_the_store() -> None:
    """The heartbeat is well as long as the store answers."""
    store = StagedStore()
    door = Door(store)
    answer = door.request("GET", "/__heartbeat__")
    assert (answer.status, answer.value["ok"]) == (200, True)
    store.error = StoreUnavailable("the disk has failed")
    answer = door.request("GET", "/__heartbeat__")
    assert (answer.status, answer.value["error"]) == (503, "unavailable")


def test_full_store() -> None:
    """What there is no room for is 507, with the time to try again."""
    answer = Door(StagedStore(error=StoreFull("no room"))).post(b'{"timestamp":1}')
    assert answer.status == 507
    assert answer.value == {"error": "insufficient_storage", "reason": "no room"}
    assert int(answer.headers["retry-after"]) > 0


def test_damaged_event() -> None:
    """An event that is not what was written is an error that names it, and no reason to retry."""
    answer = Door(StagedStore(error=StoreDamaged("event 'x' is damaged"))).get("?id=x")
    assert answer.status == 500
    assert answer.value == {"error": "damaged", "reason": "event 'x' is damaged"}
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("path", ["", "/rows", "/count", "/last"])
def test_trailing_slash(path: str) -> None:
    """A trailing slash is the same route, with the same parameters, and no redirect."""
    door = Door()
    door.save([{"timestamp": 1}, {"timestamp": 2}])
    plain, slash = door.get(f"{path}?start=2"), door.get(f"{path}/?start=2")
    assert (slash.status, slash.body) == (200, plain.body)


def test_trailing_slash_of_a_post() -> None:
    """A post to the path with a slash is a deposit."""
    door = Door()
    headers = {"Content-Type": JSON}
    assert door.request("POST", f"{ROOT}/", b'{"timestamp":1}', headers).status == 201
    assert door.get("/count").value == 1


def test_trailing_slash_of_ping() -> None:
    """A ping may end in a slash."""
    assert Door().request("GET", "/wsapi/ping/").body == b"pong"


def test_trailing_slash_of_the_stream() -> None:
    """The stream's path may end in a slash."""
    door = Door()
    stream = door.stream("/")
    door.save({"timestamp": 1})
    door.flush()
    assert len(stream.changes()) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/wsapi",
        "/wsapi/",
        "/wsapi/interaction",
        f"{ROOT}x",
        f"{ROOT}/nothing",
        f"{ROOT}/rows/1",
        f"{ROOT}//",
        f"{ROOT}//rows",
        "/wsapi//ping",
        "/WSAPI/PING",
        "/wsapi/%F0%9F%90%B7",
        "/%2e%2e/etc/passwd",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_no_such_route(method: str, path: str) -> None:
    """Every other path is 404, whatever the method, and never a redirect."""
    answer = Door().request(method, path)
    assert answer.status == 404
    assert answer.value["error"] == "not_found"
    assert answer.reason


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_other_method(path: str, method: str, slash: str) -> None:
    """A method that a route does not take is 405, with those that it takes."""
    answer = Door().request(method, path + slash)
    assert answer.status == 405
    assert answer.value["error"] == "method_not_allowed"
    assert answer.reason
    expected = {"GET", "HEAD", "POST"} if path == ROOT else {"GET", "HEAD"}
    assert set(answer.headers["allow"].split(", ")) == expected


@pytest.mark.parametrize("path", ROUTES[1:])
def test_post_elsewhere(path: str) -> None:
    """Events are posted to one path only."""
    answer = Door().request("POST", path, b'{"timestamp":1}', {"Content-Type": JSON})
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


HEADS = [*ROUTES, f"{ROOT}?format=ndjson", f"{ROOT}?id=k.0", f"{ROOT}?limit=1", f"{ROOT}/stream/"]


@pytest.mark.parametrize("path", [*HEADS, f"{ROOT}?id=nobody", f"{ROOT}?start=x", "/nothing"])
def test_head(path: str) -> None:
    """HEAD is answered without a body, not one byte."""
    door = Door()
    door.save([{"timestamp": 1}, {"timestamp": 2}], "k")
    answer = door.raw(b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    assert answer.startswith(b"HTTP/1.1 ")
    assert answer.count(b"\r\n\r\n") == 1 and answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path", [path for path in HEADS if "stream" not in path])
def test_head_equals_get(path: str) -> None:
    """HEAD has the status and the headers of GET, the length of the body included."""
    door = Door()
    door.save([{"timestamp": 1}, {"timestamp": 2}], "k")
    heads = [
        door.raw(b"%b %b HTTP/1.1\r\nHost: x\r\n\r\n" % (method, path.encode())).partition(
            b"\r\n\r\n"
        )[0]
        for method in (b"GET", b"HEAD")
    ]
    get, head = (
        {line for line in head.split(b"\r\n") if not line.startswith((b"Date:", b"X-Request-Id:"))}
        for head in heads
    )
    assert get == head
    assert any(line.startswith(b"Content-Length:") for line in head)


def test_head_of_a_long_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """HEAD of a range of several pieces is answered without reading all of them."""
    monkeypatch.setattr(ranges, "EVENTS_AT_ONCE", 2)
    store = StagedStore()
    door = Door(store)
    door.save([{"timestamp": n} for n in range(10)])
    store.calls = 0
    answer = door.request("HEAD", ROOT)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == JSON
    assert store.calls == 1


def test_head_of_the_stream_ends() -> None:
    """HEAD of the stream is answered as a whole, and nobody follows."""
    door = Door()
    response = door.begin("HEAD", f"{ROOT}/stream")
    answer = door.finish(response)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == NDJSON
    assert len(door.feed) == 0
    assert door.clock.getDelayedCalls() == []


def test_head_of_the_stream_leaves_the_connection_usable() -> None:
    """After HEAD of the stream, the same connection takes the next request."""
    request = b"%b HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = Door().raw(request % f"HEAD {ROOT}/stream".encode() + request % b"GET /wsapi/ping")
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.endswith(b"pong")


@pytest.mark.parametrize("path", READING)
def test_store_unavailable(path: str) -> None:
    """When the store cannot answer, the client hears that it may try again, and when."""
    answer = Door(StagedStore(error=StoreUnavailable("the disk sleeps"))).get(path)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.value == {"error": "unavailable", "reason": "the disk sleeps"}


@pytest.mark.parametrize("path", [*READING, "?id=x"])
def test_unexpected_failure(path: str, logged_errors: list[LogEvent]) -> None:
    """A mistake of ours is a 500 that tells no secrets, and the log has the traceback."""
    answer = Door(StagedStore(error=RuntimeError("secret"))).get(path)
    assert answer.status == 500
    assert answer.value["error"] == "internal_error"
    assert answer.reason and b"secret" not in answer.body
    (error,) = logged_errors
    assert error["log_failure"].check(RuntimeError)
    logged_errors.clear()


def test_unexpected_failure_of_a_post(logged_errors: list[LogEvent]) -> None:
    """A deposit that fails by a mistake of ours is not acknowledged."""
    answer = Door(StagedStore(error=RuntimeError("secret"))).post(b'{"timestamp":1}')
    assert answer.status == 500
    assert answer.reason and b"secret" not in answer.body
    (error,) = logged_errors
    assert error["log_failure"].check(RuntimeError)
    logged_errors.clear()
