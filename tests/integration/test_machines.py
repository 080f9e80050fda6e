"""`make deploy-test`: a cloud machine and a container are made from what is in `deploy/`.

The machine is a folder with a fresh Debian in which systemd and cloud-init really run. There is no
container engine: the image's instructions are carried out in such a folder, with Debian's own
Python for that of the base image.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.deployment import CLOUD_INIT, ROOT, Instruction, instructions, stages, tool
from tests.integration.machine import Machine, Tree, booted, make_tree

pytestmark = pytest.mark.skipif(
    not os.environ.get("KPIGGYBANK_DEPLOY_TEST"), reason="this is for `make deploy-test`"
)

#: From <linux/capability.h>; a sandbox may be without it.
CAP_SYS_RESOURCE = 24

EVENTS = "/wsapi/interaction_data"
SECONDS = 120.0
UNIT = "kpiggybank.service"
#: Of a machine that has come so far that systemd can be asked.
STATES = ("starting", "running", "degraded")


def until(seek: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    end = time.monotonic() + SECONDS
    while not seek():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.1)


def ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    """The status and body of an answer of 127.0.0.1."""
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def answers(port: int) -> bool:
    """Whether a daemon answers there."""
    try:
        return ask(port, "GET", "/wsapi/ping") == (200, "pong")
    except (OSError, HTTPException):
        return False


def free_port() -> int:
    """One that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the machines are; gigabytes that are not to be left."""
    folder = tmp_path_factory.mktemp("machines")
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def tree(folder: Path) -> Tree:
    """A fresh Debian."""
    tool("debootstrap")
    return make_tree(folder / "debian")


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    """The project's wheel."""
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=SECONDS)
    (wheel,) = folder.glob("*.whl")
    return wheel


def shown(machine: Machine, *names: str) -> dict[str, str]:
    """What systemd knows of the service."""
    lines = machine.run("systemctl", "show", UNIT, f"--property={','.join(names)}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def assert_sealed(machine: Machine) -> None:
    """Holds if the daemon runs as the unit says: nobody's, filtered, and with its priority."""
    pid = shown(machine, "MainPID")["MainPID"]
    status = dict(
        line.split(":\t", 1)
        for line in machine.run("cat", f"/proc/{pid}/status").splitlines()
        if ":\t" in line
    )
    assert "0" not in status["Uid"].split()
    assert (status["NoNewPrivs"], status["Seccomp"], int(status["CapBnd"], 16)) == ("1", "2", 0)
    threads = machine.run("ps", "-L", "-o", "nice=", "-p", pid).split()
    assert shown(machine, "LimitNICE", "LimitNOFILE") == {"LimitNICE": "30", "LimitNOFILE": "20000"}
    first = machine.run("cat", "/proc/1/status")
    may_raise_limits = int(first.partition("CapEff:")[2].split()[0], 16) >> CAP_SYS_RESOURCE & 1
    assert "-10" in threads or not may_raise_limits, "the thread that writes has no priority"
    assert machine.run("stat", "-Lc", "%a", "/var/lib/kpiggybank").strip() == "700"


def assert_restarts_lose_nothing(machine: Machine, port: int, kept: int) -> int:
    """Holds if all requests are answered while systemd restarts the service."""
    count = 0
    for _ in range(3):
        done = subprocess.Popen([*machine.entry, "systemctl", "restart", UNIT])
        while done.poll() is None:
            assert ask(port, "POST", EVENTS, '{"timestamp": 2}')[0] == 201
            count += 1
        assert done.returncode == 0
    assert ask(port, "GET", f"{EVENTS}/count") == (200, str(kept + count))
    return kept + count


def assert_watched(machine: Machine, port: int) -> None:
    """Holds if a daemon that hangs is killed and started again."""
    drop_in = f"/etc/systemd/system/{UNIT}.d/soon.conf"
    machine.tree.write(drop_in, "[Service]\nWatchdogSec=3\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", UNIT)
    before = shown(machine, "MainPID")["MainPID"]
    machine.run("sleep", "5")  # longer than the watchdog waits: there are signs of life
    assert shown(machine, "MainPID") == {"MainPID": before}
    machine.run("kill", "-STOP", before)
    until(
        lambda: shown(machine, "MainPID", "ActiveState")["MainPID"] not in ("0", before),
        "another daemon",
    )
    until(lambda: answers(port), "its answer")


def test_cloud_machine(tree: Tree, wheel: Path) -> None:
    """The user data makes a machine that keeps its events, whatever is killed or started anew."""
    port = free_port()
    machine_tree = tree.copy(tree.path.parent / "cloud")
    shutil.copy(wheel, machine_tree.path / "opt")
    user_data = CLOUD_INIT.read_text()
    for old, new in (
        (r"SOURCE='.*'", f"SOURCE='/opt/{wheel.name}'"),
        (r"\n      ListenStream=.*", f"\n      ListenStream=127.0.0.1:{port}"),
    ):
        user_data, count = re.subn(old, new, user_data)
        assert count == 1
    seed = "/var/lib/cloud/seed/nocloud"
    machine_tree.write(f"{seed}/user-data", user_data)
    machine_tree.write(f"{seed}/meta-data", "instance-id: kpiggybank\n")
    with booted(machine_tree) as machine:
        ask_state = ("systemctl", "is-system-running")
        until(lambda: machine.run(*ask_state, check=False).strip() in STATES, "systemd")
        said = machine.run("cloud-init", "status", "--wait", "--long", check=False)
        assert "status: done" in said, said + machine.run("cat", "/var/log/cloud-init-output.log")
        machine.run("systemctl", "start", UNIT)
        assert ask(port, "POST", EVENTS, '{"timestamp": 1}')[0] == 201
        state = shown(machine, "ActiveState", "StatusText")
        assert state["ActiveState"] == "active"
        assert state["StatusText"].endswith("store: sqlite, /var/lib/kpiggybank/bid_kpi.sqlite3")
        assert_sealed(machine)
        machine.run("systemctl", "kill", "--signal=KILL", UNIT)
        assert ask(port, "GET", f"{EVENTS}/count") == (200, "1")
        kept = assert_restarts_lose_nothing(machine, port, 1)
        assert_watched(machine, port)
        assert ask(port, "GET", f"{EVENTS}/count") == (200, str(kept))
    with booted(machine_tree) as machine:  # after what was a power cut
        until(lambda: answers(port), "the daemon of a machine that was started anew")
        assert ask(port, "GET", f"{EVENTS}/count") == (200, str(kept))
        # One variable is enough for a CouchDB, for which it waits without holding anybody up.
        script = "rm /etc/kpiggybank/env && sed -i \"s|^COUCHDB=.*|COUCHDB='$0'|\" $1 && exec $2"
        machine.run(
            *("sh", "-c", script, "http://kpi:a%40b@127.0.0.1:1"),
            *("/etc/kpiggybank/install", "/usr/local/sbin/kpiggybank-setup"),
        )
        until(
            lambda: "couchdb, http://127.0.0.1:1" in shown(machine, "StatusText")["StatusText"],
            "a daemon that waits for CouchDB",
        )
        assert shown(machine, "ActiveState") == {"ActiveState": "activating"}
        assert machine.run("stat", "-c", "%a", "/etc/kpiggybank/env").strip() == "600"


def carry_out(stage: list[Instruction], tree: Tree, others: dict[str, Tree]) -> dict[str, str]:
    """Carry out what makes files, as an engine would; gives the environment."""
    environ: dict[str, str] = {}
    folder = "/"
    # Stands for the Python of the base image.
    python = tree.path / "usr" / "local" / "bin" / "python"
    python.symlink_to("/usr/bin/python3")
    for each in stage:
        if each.word == "WORKDIR":
            folder = each.text
            (tree.path / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif each.word == "ENV":
            environ |= dict(pair.split("=", 1) for pair in each.text.split())
        elif each.word == "COPY":
            *sources, target = each.text.split()
            place = ROOT
            if sources[0].startswith("--from="):
                place = others[sources.pop(0).removeprefix("--from=")].path
            there = tree.path / os.path.join(folder, target).lstrip("/")
            for source in sources:
                found = place / source.lstrip("/")
                if found.is_dir():
                    shutil.copytree(found, there, symlinks=True, dirs_exist_ok=True)
                else:
                    shutil.copy(found, there)
        elif each.word == "RUN":
            tree.run("/bin/sh", "-c", f"cd {folder} && {each.text}", environ=environ)
    return environ


def test_image(tree: Tree) -> None:
    """In the files that the instructions make, the command runs as its user, and keeps events."""
    build, image = stages(instructions())
    built = tree.copy(tree.path.parent / "build")
    carry_out(build, built, {})
    final = tree.copy(tree.path.parent / "image")
    environ = carry_out(image, final, {"build": built})
    said = {each.word: each for each in image}
    port = free_port()
    environ |= {"PATH": "/usr/bin:/bin", "HOST": "127.0.0.1", "PORT": str(port)}
    user = said["USER"].text

    def inside(command: list[str]) -> list[str]:
        chroot = [tool("chroot"), f"--userspec={user}", str(final.path), "/bin/sh", "-c"]
        return [*chroot, f'cd {said["WORKDIR"].text} && exec "$@"', "sh", *command]

    for end in (signal.SIGKILL, signal.SIGTERM):
        daemon = subprocess.Popen(inside(said["ENTRYPOINT"].command), env=environ)
        try:
            until(lambda: answers(port), "the container's daemon")
            if end == signal.SIGKILL:
                assert ask(port, "POST", EVENTS, '{"timestamp": 1}')[0] == 201
            assert json.loads(ask(port, "GET", EVENTS)[1]) == [{"timestamp": 1}]
            uid = Path(f"/proc/{daemon.pid}").stat().st_uid
            assert uid == 10001
            health = subprocess.run(inside(said["HEALTHCHECK"].command), env=environ)
            assert health.returncode == 0
        finally:
            daemon.send_signal(end)
            status = daemon.wait()
    assert status == 0
    assert subprocess.run(inside(said["HEALTHCHECK"].command), env=environ).returncode != 0
    volume = final.path / said["VOLUME"].text.lstrip("/")
    assert (volume / "bid_kpi.sqlite3").exists()
