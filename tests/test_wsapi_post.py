"""Posting events: which bodies are taken, what is answered, and what then is in the bank."""

from __future__ import annotations

import json

import pytest
from twisted.internet.defer import Deferred

from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.sample import SignIns
from tests.web_client import (
    FORM,
    JSON,
    NDJSON,
    ROOT,
    Door,
    StagedStore,
    form_of,
    has_fired,
    result_of,
)

ONE = '{"timestamp":1,"type":"a"}'
TWO = '{"timestamp":2,"type":"b"}'
LIST = f"[{ONE},{TWO}]"

#: What is no event, as JSON or not even that.
NO_EVENTS = [
    pytest.param(b"nonsense", id="not-json"),
    pytest.param(b"[1", id="unfinished"),
    pytest.param(b"{'timestamp':1}", id="single-quotes"),
    pytest.param(b'{"timestamp":1} x', id="text-after"),
    pytest.param(b'{"timestamp":1} {"timestamp":2}', id="two-values"),
    pytest.param(b'{"timestamp":1,"a":"\xff"}', id="not-utf8"),
    pytest.param(b'{"timestamp":1,"a":"\\ud800"}', id="lone-surrogate"),
    pytest.param(b'{"timestamp":1,"a":NaN}', id="nan-inside"),
    pytest.param(b'{"timestamp":1,"a":1e400}', id="too-big-inside"),
    pytest.param(b"null", id="null"),
    pytest.param(b"17", id="number"),
    pytest.param(b'"text"', id="text"),
    pytest.param(b"true", id="true"),
    pytest.param(b"{}", id="empty"),
    pytest.param(b'{"type":"a"}', id="no-timestamp"),
    pytest.param(b'{"timestamp":"1"}', id="timestamp-text"),
    pytest.param(b'{"timestamp":true}', id="timestamp-true"),
    pytest.param(b'{"timestamp":null}', id="timestamp-null"),
    pytest.param(b'{"timestamp":[1]}', id="timestamp-list"),
    pytest.param(b'{"timestamp":{}}', id="timestamp-object"),
    pytest.param(b'{"timestamp":NaN}', id="timestamp-nan"),
    pytest.param(b'{"timestamp":-Infinity}', id="timestamp-infinity"),
    pytest.param(b'{"timestamp":1e400}', id="timestamp-1e400"),
    pytest.param(b'{"timestamp":1' + b"0" * 400 + b"}", id="timestamp-401-digits"),
    pytest.param(b'{"timestamp":1,"_id":"x"}', id="reserved-name"),
    pytest.param(b'{"timestamp":1,"_":2}', id="underscore"),
]


def count(door: Door) -> int:
    """How many events are in the bank."""
    number: int = door.get("/count").value
    return number


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, form_of(ONE)),
        (JSON, ONE.encode()),
        (JSON, f'{{"data":{ONE}}}'.encode()),
        (JSON, json.dumps({"data": ONE}).encode()),
        (NDJSON, ONE.encode()),
        (NDJSON, ONE.encode() + b"\n"),
    ],
)
def test_one_event(content_type: str, body: bytes) -> None:
    """Each kind of body can bring one event, which then is in the bank."""
    door = Door()
    answer = door.post(body, content_type)
    assert answer.status == 201
    assert len(answer.value["ids"]) == 1
    assert door.get().body == f"[{ONE}]".encode()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, form_of(LIST)),
        (FORM, b"x=1&" + form_of(LIST) + b"&y=%7B"),
        (JSON, LIST.encode()),
        (JSON, f" [\n{ONE} ,\t{TWO}\r\n] ".encode()),
        (JSON, f'{{"data":{LIST}}}'.encode()),
        (JSON, json.dumps({"data": LIST}).encode()),
        (NDJSON, f"{ONE}\n{TWO}".encode()),
        (NDJSON, f"\n{ONE}\r\n \r\n{TWO}\r\n".encode()),
    ],
)
def test_list_of_events(content_type: str, body: bytes) -> None:
    """Each kind of body can bring several events, and all of them are stored in their order."""
    door = Door()
    answer = door.post(body, content_type)
    assert answer.status == 201
    assert len(answer.value["ids"]) == 2
    assert door.get().body == LIST.encode()


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
        "application/json ; x=y",
    ],
)
def test_content_type_with_parameters(content_type: str) -> None:
    """Parameters and capitals do not change a content type."""
    assert Door().post(ONE.encode(), content_type).status == 201


def test_body_of_the_answer() -> None:
    """The answer is JSON, says ok, and names the events in the order in which they came."""
    door = Door()
    answer = door.post(f"[{TWO},{ONE}]".encode())
    assert answer.headers["content-type"] == JSON
    first, second = answer.value["ids"]
    assert answer.value == {"ok": True, "ids": [first, second]}
    assert door.get(f"?id={first}").value == {"results": json.loads(TWO)}
    assert door.get(f"?id={second}").value == {"results": json.loads(ONE)}


def test_ids_are_unique() -> None:
    """The same event posted twice is two events."""
    door = Door()
    assert door.save(json.loads(ONE)) != door.save(json.loads(ONE))
    assert count(door) == 2


def test_event_with_a_member_data() -> None:
    """Only an object whose sole member is `data` is a wrapper; others are events."""
    door = Door()
    event = {"timestamp": 1, "data": {"timestamp": 2}}
    door.save(event)
    assert door.get().value == [event]


def test_empty_list() -> None:
    """A list of nothing is taken and stores nothing."""
    door = Door()
    answer = door.post(b"[]")
    assert (answer.status, answer.value) == (201, {"ok": True, "ids": []})
    assert count(door) == 0


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, form_of(f"[[{ONE},{TWO}],{ONE}]")),
        (JSON, f"[[{ONE},{TWO}],{ONE}]".encode()),
        (JSON, f"[[],[{ONE}],[{TWO}],{ONE}]".encode()),
        (JSON, f'{{"data":[[{ONE},{TWO},{ONE}]]}}'.encode()),
    ],
)
def test_nested_lists(content_type: str, body: bytes) -> None:
    """Lists in the list are flattened: a bug of later writers."""
    door = Door()
    answer = door.post(body, content_type)
    assert len(answer.value["ids"]) == 3
    assert door.get().body == f"[{ONE},{ONE},{TWO}]".encode()


def test_lists_nested_twice() -> None:
    """One level is flattened, no more."""
    answer = Door().post(f"[[[{ONE}]]]".encode())
    assert answer.status == 400
    assert "event 0" in answer.reason


@pytest.mark.parametrize(("content_type", "quoted"), [(FORM, True), (JSON, False), (NDJSON, False)])
@pytest.mark.parametrize("text", NO_EVENTS)
def test_no_event(content_type: str, quoted: bool, text: bytes) -> None:
    """What is no event is refused, in each kind of body, and nothing is stored."""
    door = Door()
    answer = door.post(form_of(text) if quoted else text, content_type)
    assert answer.status == 400
    assert answer.value["error"] == "bad_request"
    assert answer.reason
    assert count(door) == 0


@pytest.mark.parametrize("text", NO_EVENTS)
def test_wrapped_no_event(text: bytes) -> None:
    """What is no event is none in a wrapper, either."""
    assert Door().post(b'{"data":' + text + b"}").status == 400


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b""),
        (FORM, b"datum=%7B%22timestamp%22%3A1%7D"),
        (FORM, b"data"),
        (FORM, b"data="),
        (FORM, b"data=%7B&data=%7B"),
        (FORM, ONE.encode()),
        (JSON, b""),
        (JSON, b" "),
        (JSON, b'{"data":""}'),
        (JSON, json.dumps({"data": json.dumps(ONE)}).encode()),
        (NDJSON, b""),
        (NDJSON, b"\r\n\n"),
        (NDJSON, LIST.encode()),
    ],
)
def test_no_data(content_type: str, body: bytes) -> None:
    """A body without an event where this kind of body has it is refused."""
    answer = Door().post(body, content_type)
    assert answer.status == 400
    assert answer.reason


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, form_of(f'[{ONE},{TWO},{{"type":"c"}},{ONE}]')),
        (JSON, f'[{ONE},{TWO},{{"type":"c"}},{ONE}]'.encode()),
        (JSON, f'[[{ONE},{TWO}],{{"type":"c"}}]'.encode()),
        (NDJSON, f'{ONE}\n{TWO}\n{{"type":"c"}}\n{ONE}'.encode()),
        (NDJSON, f"{ONE}\n{TWO}\nnonsense\n".encode()),
    ],
)
def test_all_or_nothing(content_type: str, body: bytes) -> None:
    """One bad event refuses them all, and the answer says which one it is."""
    door = Door()
    answer = door.post(body, content_type)
    assert answer.status == 400
    assert "event 2" in answer.reason
    assert count(door) == 0


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", "json"])
def test_other_content_type(content_type: str) -> None:
    """A body of another kind is refused, and the answer names those that are taken."""
    answer = Door().post(ONE.encode(), content_type)
    assert answer.status == 415
    assert all(name in answer.reason for name in (FORM, JSON, NDJSON))


def test_no_content_type() -> None:
    """A body that does not say what it is is refused."""
    answer = Door().request("POST", ROOT, ONE.encode())
    assert answer.status == 415
    assert "Content-Type" in answer.reason


def test_encoded_body() -> None:
    """A compressed body is refused as what it is, rather than as broken JSON."""
    answer = Door().post(ONE.encode(), Content_Encoding="br")
    assert answer.status == 415
    assert "Content-Encoding" in answer.reason


def test_identity_is_no_encoding() -> None:
    """A body that is said not to be encoded is taken."""
    assert Door().post(ONE.encode(), Content_Encoding="identity").status == 201


def test_store_unavailable() -> None:
    """When the store cannot store, the client hears that it may try again, and when."""
    door = Door(StagedStore(error=StoreUnavailable("the disk is full")))
    answer = door.post(ONE.encode())
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.value == {"error": "unavailable", "reason": "the disk is full"}


def test_no_ack_before_the_store_has_answered() -> None:
    """The 201 waits until all is durable."""
    hold: Deferred[None] = Deferred()
    door = Door(StagedStore(hold=hold))
    answer = door.begin("POST", ROOT, ONE.encode(), {"Content-Type": JSON})
    assert not has_fired(answer)
    hold.callback(None)
    door.flush()
    assert result_of(answer).code == 201


def test_original_writer() -> None:
    """The sign-in server's own request: a form without charset, 20 events; it wants exactly 201."""
    door = Door()
    events = SignIns(seed=1, now=1_700_000_000).take(20)
    answer = door.post(form_of(json.dumps(events)), FORM)
    assert answer.status == 201
    rows = {row["id"]: row["value"] for row in door.get("/rows").value}
    assert [rows[id] for id in answer.value["ids"]] == events


@pytest.mark.parametrize("space", ["+", "%20"])
def test_spaces_in_a_form(space: str) -> None:
    """Both spellings of a space in a form are a space, and an encoded plus stays a plus."""
    door = Door()
    door.post(f'data={{"timestamp":1,"a":"x{space}y%2Bz"}}'.encode(), FORM)
    assert door.get().value == [{"timestamp": 1, "a": "x y+z"}]
