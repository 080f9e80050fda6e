"""Every example in README is run as it stands, save for the port and what a server makes up.

So is every example in the description of the API.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from kpiggybank.web.description import operations
from tests.integration.daemon import ROOT, Daemon, ask, post
from tests.integration.programs import Program

README = (ROOT / "README.md").read_text()
EXAMPLES = [
    (command, expected.strip())
    for block in re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for command, expected in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE)
]
(PYTHON,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def masked(text: str) -> str:
    """A text with the names that a server makes up made equal."""
    return re.sub(r"\b\d+-[0-9a-f]{8}\b", "CURSOR", re.sub(r"\b[0-9a-f]{28}\b", "ID", text)).strip()


def test_there_are_examples() -> None:
    """The way they are found in README works."""
    commands = " ".join(command for command, _ in EXAMPLES)
    assert all(word in commands for word in ("-d 'data=", "start=", "/count", "/stream"))


@ensureDeferred
async def test_curl_examples(tmp_path: Path) -> None:
    """Each command answers what README says, in README's order, on a new bank."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    async with Daemon(tmp_path, environ={"DB_BACKEND": "sqlite"}) as daemon:
        for command, expected in EXAMPLES:
            here = command.replace("127.0.0.1:3000", f"127.0.0.1:{daemon.port}")
            program = Program.run(["/bin/sh", "-c", f"exec {here} -v"], tmp_path)
            live = " -N " in command
            if live:
                await program.said(b"< HTTP/1.1 200", 2)
                event = post({"timestamp": 1700000180}, b"Connection: close")
                assert (await ask(daemon.port, event)).status == 201
                await program.said(b"\r\n", 1)
                assert await daemon.terminate() == 0
            lines = (await program.ended()).splitlines()
            answer = "\n".join(lines[:1] if live else lines)
            assert masked(answer) == masked(expected), command


@ensureDeferred
async def test_examples_of_the_description(tmp_path: Path) -> None:
    """Each line for the shell gets an answer that is no error."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    async with Daemon(tmp_path, environ={"DB_BACKEND": "memory"}) as daemon:
        for operation in operations(f"http://127.0.0.1:{daemon.port}"):
            program = Program.run(["/bin/sh", "-c", f"exec {operation.curl} -fsS"], tmp_path)
            if operation.path.endswith("/stream"):
                await program.said(b"\r\n", 1)  # what was posted before
                assert program.transport is not None
                program.transport.signalProcess("KILL")
            assert await program.ended(), operation


@ensureDeferred
async def test_client_example(tmp_path: Path) -> None:
    """The client's ten lines run, and show what they promise."""
    async with Daemon(tmp_path, environ={"DB_BACKEND": "memory"}) as daemon:
        code = PYTHON.replace("3000", str(daemon.port))
        program = Program.run([sys.executable, "-c", code], tmp_path, PYTHONPATH=str(ROOT))
        lines = (await program.ended()).splitlines()
        assert "arrived: {'timestamp': 1700000240}" in lines
        assert any(line.startswith("saved: [") for line in lines)
        expected = "in range: [{'timestamp': 1700000240}, {'timestamp': 1700000300}] of 2"
        assert expected in lines


@ensureDeferred
async def test_reading_the_file_beside_the_server(tmp_path: Path) -> None:
    """The SQL that README shows works while the server runs."""
    found = re.search(r'`sqlite3 -readonly (\S+) "(.*?)"`', README)
    assert found
    async with Daemon(tmp_path, environ={"DB_BACKEND": "sqlite"}) as daemon:
        event = post({"timestamp": 1, "type": "hello"}, b"Connection: close")
        (id,) = (await ask(daemon.port, event)).json["ids"]
        connection = sqlite3.connect(f"file:{tmp_path / found[1]}?mode=ro", uri=True)
        rows = connection.execute(found[2]).fetchall()
        connection.close()
    assert rows == [(id, 1, "hello")]
