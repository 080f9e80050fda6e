"""What is read equals what was sent, value for value, on every route."""

from __future__ import annotations

import json

import pytest

from tests.web_client import Door, canonical

#: Values that a careless server changes, as JSON texts.
VALUES = [
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234567890",
    "1",
    "1.0",
    "-0.0",
    "0.1",
    "1e300",
    "5e-324",
    "true",
    "null",
    '""',
    '"a\\u0000b"',
    '"\u2028\u2029\u0085"',
    '"\\u2028"',
    '"🐷💰"',
    '"\\ud83d\\udc37"',
    '"line\\r\\nbreak\\t\\"quoted\\" \\\\ \\/"',
    '"</script><!-- &amp; %20+"',
    "[]",
    "{}",
    '{"":[[[]]],"_id":"below the top, this is fine","ключ":"значение"}',
]


@pytest.mark.parametrize("path", ["array", "rows", "ndjson", "id", "last", "stream"])
@pytest.mark.parametrize("text", VALUES)
def test_values_are_exact(path: str, text: str) -> None:
    """What is read, on whatever route, equals what was sent, and is UTF-8 on a single line."""
    door = Door()
    stream = door.stream()
    sent = f'{{"timestamp":1,"value":{text}}}'.encode()
    id = door.post(sent).value["ids"][0]
    door.flush()
    body = {
        "array": lambda: door.get().body[1:-1],
        "rows": lambda: door.get("/rows").body.partition(b'"value":')[2][:-2],
        "ndjson": lambda: door.get("?format=ndjson").body[:-1],
        "id": lambda: door.get(f"?id={id}").body.removeprefix(b'{"results":')[:-1],
        "last": lambda: door.get("/last").body,
        "stream": lambda: stream.take().partition(b'"doc":')[2].removesuffix(b"}\r\n"),
    }[path]()
    assert canonical(body) == canonical(sent)
    assert b"\n" not in body and b"\r" not in body


@pytest.mark.parametrize("text", ["1", "1.0", "-1.5", "0", "18446744073709551616", "1" + "0" * 29])
def test_timestamps_are_exact(text: str) -> None:
    """A timestamp keeps its value and its kind, in the event and as the key of its row."""
    door = Door()
    door.post(f'{{"timestamp":{text}}}'.encode(), Idempotency_Key="k")
    row = f'[{{"id":"k","key":{text},"value":{{"timestamp":{text}}}}}]'
    assert canonical(door.get("/rows").body) == canonical(row.encode())


def test_same_name_twice() -> None:
    """Of two members of one name the last is kept, and only it."""
    door = Door()
    door.post(b'{"timestamp":1,"timestamp":2,"a":1,"a":2}')
    assert json.loads(door.get().body, object_pairs_hook=list) == [[("timestamp", 2), ("a", 2)]]
    assert door.get("/count?start=2").value == 1
