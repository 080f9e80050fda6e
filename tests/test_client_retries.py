"""How saving is tried again when the answer got lost, so that nothing is stored twice."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail
from twisted.internet.error import ConnectionRefusedError

from kpiggybank.client import ClientClosed, RequestFailed
from kpiggybank.mint import is_minted
from tests.client_stage import EVENT, Stage, failure_of, success_of

SAVED = (201, b'{"ok":true,"ids":["a"]}')


def keys(stage: Stage) -> list[str]:
    """The idempotency keys of the requests so far."""
    return [request.getHeader(b"idempotency-key").decode() for request in stage.server.requests]


def test_key(stage: Stage) -> None:
    """A call has a key, one that the server takes and that none of its own ids looks like."""
    stage.server.answers = [SAVED]
    success_of(stage.api.saveData(EVENT))
    (key,) = keys(stage)
    assert re.fullmatch("[A-Za-z0-9_-]{1,50}", key)
    assert not is_minted(key)


def test_keys_of_many_calls(stage: Stage) -> None:
    """Each call has a key of its own, greater than the one before."""
    stage.server.answers = [SAVED] * 100
    for _ in range(100):
        success_of(stage.api.saveData(EVENT))
    assert keys(stage) == sorted(set(keys(stage)))


def test_keys_of_many_clients(stage: Stage) -> None:
    """No two clients have the same key, whenever they make it."""
    stage.server.answers = [SAVED] * 100
    for _ in range(100):
        success_of(stage.client("host").saveData(EVENT))
    assert len(set(keys(stage))) == 100


@pytest.mark.parametrize(
    "answer",
    [
        *((status, b"") for status in (408, 425, 429, 500, 502, 503, 504)),
        (201, b"ok"),
        (201, b'{"ids":[1]}'),
    ],
)
def test_answer_that_will_pass(stage: Stage, answer: tuple[int, bytes]) -> None:
    """After such an answer the same request is made again, with the same key."""
    stage.server.answers = [answer]
    saving = stage.api.saveData(EVENT)
    stage.server.answers = [SAVED]
    stage.wait()
    assert success_of(saving) == ["a"]
    first, second = keys(stage)
    assert first == second
    assert [json.loads(body) for body in stage.server.bodies] == [EVENT, EVENT]


@pytest.mark.parametrize("status", [200, 202, 302, 400, 404, 409, 413, 415])
def test_answer_that_will_not_pass(stage: Stage, status: int) -> None:
    """What the server refuses, or what is no server of ours, is not asked again."""
    stage.server.answers = [(status, b"")]
    assert failure_of(stage.api.saveData(EVENT), RequestFailed).status == status
    assert stage.clock.getDelayedCalls() == []


def test_answer_that_is_cut(stage: Stage) -> None:
    """A success that is cut in the middle is asked for again."""
    saving = stage.api.saveData(EVENT)
    stage.server.requests[0].setResponseCode(201)
    stage.say(b'{"ok":true')
    stage.cut()
    stage.server.answers = [SAVED]
    stage.wait()
    assert success_of(saving) == ["a"]


def test_connection_that_is_cut(stage: Stage) -> None:
    """A request whose connection is lost before any answer may have been done: it is repeated."""
    saving = stage.api.saveData(EVENT)
    stage.cut()
    stage.server.answers = [SAVED]
    stage.wait()
    assert success_of(saving) == ["a"]
    assert len(set(keys(stage))) == 1


def test_no_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one that finds no server."""
    request = stage.stub.request

    def refuse(*args: Any, **options: Any) -> Deferred[Any]:
        return fail(ConnectionRefusedError())

    monkeypatch.setattr(stage.stub, "request", refuse)
    saving = stage.api.saveData(EVENT)
    monkeypatch.setattr(stage.stub, "request", request)
    stage.server.answers = [SAVED]
    stage.wait()
    assert success_of(saving) == ["a"]


def test_no_answer(stage: Stage) -> None:
    """So is one that gets no answer within the time limit."""
    saving = stage.api.saveData(EVENT)
    stage.clock.advance(30)
    stage.server.answers = [SAVED]
    stage.wait()
    assert success_of(saving) == ["a"]


def test_last_try(stage: Stage) -> None:
    """After five more tries the call fails with what the last one said."""
    stage.server.answers = [(500, b"")] * 5 + [(503, b"")]
    saving = stage.api.saveData(EVENT)
    for _ in range(5):
        assert not saving.called
        stage.wait()
    assert failure_of(saving, RequestFailed).status == 503
    assert len(stage.server.requests) == 6


def test_silence_to_the_end(stage: Stage) -> None:
    """A silent server is a `TimeoutError` in the end, too."""
    saving = stage.api.saveData(EVENT, retries=1)
    stage.clock.advance(30)
    stage.wait()
    stage.clock.advance(30)
    failure_of(saving, TimeoutError)


@pytest.mark.parametrize("retries", [0, 1, 7])
def test_number_of_retries(stage: Stage, retries: int) -> None:
    """How often is the program's choice."""
    stage.server.answers = [(503, b"")] * (retries + 1)
    saving = stage.api.saveData(EVENT, retries=retries)
    for _ in range(retries):
        stage.wait()
    failure_of(saving, RequestFailed)
    assert len(stage.server.requests) == retries + 1


def test_pauses(stage: Stage) -> None:
    """How long is as well: each pause is about twice as long as the one before, up to the limit."""
    stage.server.answers = [(503, b"")] * 7
    saving = stage.api.saveData(EVENT, retries=6, initial_delay=1, max_delay=10)
    pauses = [stage.wait() for _ in range(6)]
    failure_of(saving, RequestFailed)
    wholes = [1, 2, 4, 8, 10, 10]
    assert all(whole / 2 <= pause <= whole for pause, whole in zip(pauses, wholes, strict=True))


def test_no_pause(stage: Stage) -> None:
    """A delay of zero means at once."""
    stage.server.answers = [(503, b"")] * 2
    saving = stage.api.saveData(EVENT, retries=1, initial_delay=0)
    assert stage.wait() == 0
    failure_of(saving, RequestFailed)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(stage: Stage, status: int) -> None:
    """The server's wish is the shortest pause, above the limit too."""
    stage.server.retry_after = "20"
    stage.server.answers = [(status, b"")]
    saving = stage.api.saveData(EVENT)
    stage.server.answers = [SAVED]
    assert 20 <= stage.wait() <= 21
    success_of(saving)


@pytest.mark.parametrize("wrong", [{"retries": -1}, {"initial_delay": -1}, {"max_delay": -0.1}])
def test_limits_below_zero(stage: Stage, wrong: Any) -> None:
    """A number or a time below zero is a mistake."""
    failure_of(stage.api.saveData(EVENT, **wrong), ValueError)
    assert stage.server.requests == []


def test_others_go_on_in_a_pause(stage: Stage) -> None:
    """A call that waits for its next try takes no other's turn."""
    stage.server.answers = [(503, b"")] * 64
    saving = [stage.api.saveData(EVENT) for _ in range(64)]
    stage.server.answers = [(200, b"7")]
    assert success_of(stage.api.count()) == 7
    for each in saving:
        each.cancel()
        failure_of(each, CancelledError)


def test_cancel_in_a_request(stage: Stage) -> None:
    """Cancelling ends the call, whatever the layers below make of it: there is no other try."""
    saving = stage.api.saveData(EVENT)
    gone = stage.server.requests[0].notifyFinish()
    saving.cancel()
    failure_of(saving, CancelledError)
    stage.stub.flush()
    failure_of(gone, Exception)
    assert stage.clock.getDelayedCalls() == []


def test_cancel_in_a_pause(stage: Stage) -> None:
    """Cancelling ends a pause as well."""
    stage.server.answers = [(503, b"")]
    saving = stage.api.saveData(EVENT)
    saving.cancel()
    failure_of(saving, CancelledError)
    assert stage.clock.getDelayedCalls() == []


def test_close_in_a_request(stage: Stage) -> None:
    """Closing ends the call, and there is no other try."""
    saving = stage.api.saveData(EVENT)
    success_of(stage.api.close())
    failure_of(saving, ClientClosed)
    assert stage.clock.getDelayedCalls() == []


def test_close_in_a_pause(stage: Stage) -> None:
    """Closing ends a pause as well."""
    stage.server.answers = [(503, b"")]
    saving = stage.api.saveData(EVENT)
    success_of(stage.api.close())
    failure_of(saving, ClientClosed)
    assert stage.clock.getDelayedCalls() == []
