"""The systemd units, the cloud machine's user data and the Dockerfile, as far as one can look."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kpiggybank.config import BACKLOG
from kpiggybank.service import STOP_SECONDS
from kpiggybank.settings import SETTINGS
from kpiggybank.stores.sqlite.threads import WRITER_NICENESS
from tests.deployment import (
    CLOUD_INIT,
    ROOT,
    SERVICE,
    SOCKET,
    instructions,
    stages,
    tool,
    unit_values,
)

#: systemd's measure, from 0 (sealed) to 10; what is left is that the service talks over a network.
EXPOSURE = 1.5
#: What Amazon takes as user data.
USER_DATA_BYTES = 16 * 1024


def run(*command: str) -> str:
    """What a command says, both ways; it must end with 0."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    return done.stdout + done.stderr


def test_units_are_valid(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing to remark in them."""
    analyze = tool("systemd-analyze")
    # It also looks whether the program is there, which it need not be on this machine.
    (command,) = unit_values(SERVICE, "ExecStart")
    here = SERVICE.read_text().replace(command.split()[0], "/bin/true")
    (tmp_path / SERVICE.name).write_text(here)
    (tmp_path / SOCKET.name).write_text(SOCKET.read_text())
    units = [str(tmp_path / unit.name) for unit in (SERVICE, SOCKET)]
    assert run(analyze, "verify", "--man=no", *units) == ""


def test_exposure() -> None:
    """`systemd-analyze security` measures what the service could do if it were taken over."""
    analyze = tool("systemd-analyze")
    options = ["--offline=true", f"--threshold={int(EXPOSURE * 10)}", "--no-pager"]
    found = run(analyze, "security", *options, str(SERVICE))
    exposure = re.search(r"Overall exposure level for kpiggybank.service: ([0-9.]+)", found)
    assert exposure, found
    assert float(exposure[1]) <= EXPOSURE


def test_units_fit_the_daemon() -> None:
    """What the units say of time, priority and the waiting connections is what the daemon needs."""
    assert unit_values(SERVICE, "LimitNICE") == [str(WRITER_NICENESS)]
    assert int(unit_values(SERVICE, "TimeoutStopSec")[0]) > STOP_SECONDS
    assert int(unit_values(SOCKET, "Backlog")[0]) >= BACKLOG
    environ = dict(
        pair.split("=", 1)
        for line in unit_values(SERVICE, "Environment")
        for pair in line.split()
        if not pair.startswith("PYTHON")
    )
    for setting in SETTINGS:
        setting.value(environ.pop(setting.variable, setting.default))
    assert environ == {}


def test_user_data_is_valid() -> None:
    """`cloud-init schema` knows all that is in it, and Amazon takes so much."""
    cloud_init = tool("cloud-init")
    said = run(cloud_init, "schema", "-c", str(CLOUD_INIT))
    assert said.startswith("Valid cloud-config") or said.startswith("Valid schema"), said
    assert CLOUD_INIT.stat().st_size < USER_DATA_BYTES


@pytest.mark.parametrize("unit", [SERVICE, SOCKET], ids=lambda unit: unit.name)
def test_user_data_has_the_units(unit: Path) -> None:
    """The units that it writes are those beside it."""
    block = f"  - path: /etc/systemd/system/{unit.name}\n    content: |\n"
    written = textwrap.indent(unit.read_text(), " " * 6)  # empty lines stay empty
    assert block + written in CLOUD_INIT.read_text()


def test_setup_reads_what_it_is_given() -> None:
    """The settings that the set-up makes of a CouchDB's URL, read as systemd reads them."""
    text = CLOUD_INIT.read_text()
    (program,) = re.findall(r"<<'END'\n(.*?)^ +END$", text, re.MULTILINE | re.DOTALL)
    program = textwrap.dedent(program)

    def settings(url: str) -> list[str]:
        return run(sys.executable, "-c", program, url).splitlines()

    assert settings("") == ['DB_BACKEND="sqlite"']
    assert settings("https://kpi:a%40b%22$%5C@couch.example:6984/at") == [
        'DB_BACKEND="couchdb"',
        'DB_HOST="https://couch.example:6984/at"',
        'DB_USER="kpi"',
        r'DB_PASS="a@b\"\$\\"',
    ]
    assert settings("http://10.0.0.5:5984")[2:] == ['DB_USER=""', 'DB_PASS=""']


def test_the_image() -> None:
    """What the Dockerfile promises: a build apart, a user, a volume, a port, and a health check."""
    build, image = stages(instructions())
    words = [each.word for each in (*build, *image)]
    assert "ADD" not in words, "it may fetch from elsewhere"
    assert not re.search(r"https?://|curl|wget|apt", " ".join(each.text for each in image[:4]))
    said = {each.word: each for each in image}
    assert said["USER"].text == "kpiggybank"
    assert said["VOLUME"].text == "/var/lib/kpiggybank"
    assert said["EXPOSE"].text == "3000"
    assert said["ENTRYPOINT"].command[1:] == ["--nodaemon", "--pidfile=", "kpiggybank"]
    assert "'/__lbheartbeat__'" in said["HEALTHCHECK"].command[2]
    compile(said["HEALTHCHECK"].command[2], "HEALTHCHECK", "exec")
    order = [each.word for each in image]
    assert order.index("RUN") < order.index("VOLUME"), "what is made later is not in the volume"
    for each in build:
        if each.word == "COPY":
            *sources, _ = each.text.split()
            assert all((ROOT / source).exists() for source in sources)
            ignored = (ROOT / ".dockerignore").read_text().splitlines()
            assert all(f"!{source}" in ignored for source in sources)
    environ = dict(pair.split("=", 1) for pair in said["ENV"].text.split())
    del environ["PYTHONUNBUFFERED"]
    for setting in SETTINGS:
        setting.value(environ.pop(setting.variable, setting.default))
    assert environ == {}
