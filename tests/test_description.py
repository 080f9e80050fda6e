"""The description of the API: as whole as the routes, and valid."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from kpiggybank.web.access import Access
from kpiggybank.web.description import DESCRIPTION, operations
from kpiggybank.web.documents import DOCUMENTS
from kpiggybank.web.operations import SERVER
from kpiggybank.web.wsapi import WsApi
from tests.callers import tokens
from tests.web_client import Door

PATHS: dict[str, dict[str, Any]] = DESCRIPTION["paths"]


def test_routes_are_described() -> None:
    """Every route and method is described, and nothing else is."""
    routes = {
        (method.lower(), rule.rule)
        for rule in WsApi.app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    assert {(method, path) for path, methods in PATHS.items() for method in methods} == routes


def test_valid() -> None:
    """It is OpenAPI 3.1."""
    errors = [error.message for error in OpenAPIV31SpecValidator(DESCRIPTION).iter_errors()]
    assert errors == []


def test_operations_have_names_of_their_own() -> None:
    """No two operations have the same id."""
    ids = [each["operationId"] for methods in PATHS.values() for each in methods.values()]
    assert len(set(ids)) == len(ids)


def test_examples() -> None:
    """Each line for the shell asks the server that it is given for the path that it is about."""
    found = list(operations("http://here:1"))
    assert {(each.method, each.path) for each in found} >= {
        ("POST", "/wsapi/interaction_data"),
        ("GET", "/wsapi/interaction_data"),
        ("GET", "/wsapi/interaction_data/stream"),
        ("GET", "/openapi.json"),
    }
    for each in found:
        command, *words = shlex.split(each.curl)
        assert command == "curl"
        assert words[-1].partition("?")[0] == f"http://here:1{each.path}"
        assert ("-d" in words) == (each.method == "POST")
        assert each.summary


def test_the_answer() -> None:
    """It is answered as it is."""
    assert Door().request("GET", "/openapi.json").value == DESCRIPTION


class TestDocuments:
    """What is read once and answered as it is."""

    @pytest.mark.parametrize("path", DOCUMENTS)
    def test_unchanged(self, path: str) -> None:
        """Who has it is told that it is the same, and gets no body."""
        door = Door()
        first = door.request("GET", path)
        assert (first.status, first.body) == (200, DOCUMENTS[path].body)
        tag = first.headers["etag"]
        again = door.request("GET", path, headers={"If-None-Match": tag})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        other = door.request("GET", path, headers={"If-None-Match": '"other"'})
        assert other.status == 200

    @pytest.mark.parametrize("path", DOCUMENTS)
    def test_head(self, path: str) -> None:
        """HEAD tells the length and sends nothing."""
        answer = Door().raw(b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        assert b"Content-Length: %d\r\n" % len(DOCUMENTS[path].body) in answer
        assert answer.endswith(b"\r\n\r\n") and answer.count(b"\r\n\r\n") == 1

    @pytest.mark.parametrize("path", DOCUMENTS)
    def test_open(self, path: str) -> None:
        """They take no token, as the page asks for one."""
        door = Door(access=Access(tokens("w", "r")))
        assert door.request("GET", path).status == 200
        assert door.request("HEAD", f"{path}/").status == 200
        assert door.request("POST", path).status == 401

    def test_policy(self) -> None:
        """The page may run scripts of ours, but none that stand in it; others allow nothing."""
        door = Door()
        for path in ("/docs", "/docs/"):
            policy = door.request("GET", path).headers["content-security-policy"]
            assert "script-src 'self';" in policy
        assert b"<script>" not in DOCUMENTS["/docs"].body
        policy = door.request("GET", "/openapi.json").headers["content-security-policy"]
        assert policy == "default-src 'none'; frame-ancestors 'none'"

    def test_server_of_the_examples(self) -> None:
        """The page knows which server the examples ask, and puts the one at hand there."""
        assert f'"{SERVER}"' in DOCUMENTS["/docs/docs.js"].body.decode()

    def test_all_comes_from_here(self) -> None:
        """The page asks for nothing but documents."""
        body = DOCUMENTS["/docs"].body.decode()
        assert "//" not in body
        assert all(path in body for path in DOCUMENTS if path != "/docs")
