"""What the server answers to all kinds of requests is what the description of the API says."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pytest_twisted import ensureDeferred
from twisted.internet.utils import getProcessOutputAndValue

from tests.integration.daemon import COMMANDS, ROOT, Daemon, ask, post

#: How many requests chance makes for each method of a route; with a time, it goes on until then.
AMOUNT = ("--max-time", "600") if os.environ.get("KPIGGYBANK_SOAK") else ("--max-examples", "25")

#: No 5xx; no status, header, content type or schema but those described; 405 for other methods.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


@ensureDeferred
async def test_answers_are_as_described(tmp_path: Path) -> None:
    """More than a thousand requests, right and wrong, are answered as the description says.

    Of the stream, only forms that end are asked for, see `schemathesis_hooks`.
    """
    events = [
        {"timestamp": number, "type": "hello", "user_agent": {"browser": "Firefox", "x": None}}
        for number in (0, -1.5, 1700000000, 1700000000000, 2**70, 1e300)
    ]
    # With tokens, as there are no metrics without any.
    settings = {"DB_BACKEND": "sqlite", "WRITE_TOKEN": "t", "READ_TOKEN": "t"}
    token = "Authorization: Bearer t"
    async with Daemon(tmp_path, environ=settings) as daemon:
        request = post(events, token.encode(), b"Connection: close")
        assert (await ask(daemon.port, request)).status == 201
        command = (
            *(str(COMMANDS / "schemathesis"), "run"),
            f"http://127.0.0.1:{daemon.port}/openapi.json",
            *("--phases", "examples,coverage,fuzzing", *AMOUNT),
            *("--seed", "7", "--generation-database", "none", "--checks", ",".join(CHECKS)),
            *("--header", token),
            *("--request-timeout", "20", "--continue-on-failure", "--no-color", "--no-shrink"),
        )
        environ = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
        environ["SCHEMATHESIS_HOOKS"] = "tests.integration.schemathesis_hooks"
        out, err, status = await getProcessOutputAndValue(
            command[0], command[1:], environ, str(tmp_path)
        )
        text = (out + err).decode()
        assert status == 0, text
        tested = re.search(r"(\d+) generated, (\d+) passed", text)
        assert tested and tested[1] == tested[2], text
        assert int(tested[1]) > 1000, text
        assert await daemon.terminate() == 0, daemon.err
