"""What a user gets from `pip install`: every file, and a plugin that Twisted's commands find."""

import ast
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Installs fetch packages from the network.
INSTALL_SECONDS = 300.0
#: For what needs only this machine, however busy it is.
LOCAL_SECONDS = 60.0
POLL_SECONDS = 0.05

#: What a checkout may hold that is no source: none of it may leak into a build.
NOT_SOURCE = shutil.ignore_patterns(
    ".git",
    ".venv",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    "_trial_temp*",
    "dropin.cache",
    "*.sqlite3*",
    "env.sh",
)

#: The settings of a developer's shell, which would reach the daemon or the new environment.
OWN_SETTINGS = re.compile(
    r"DB_.*|HOST|PORT|LISTEN|MODE|DATA_DIR|STATE_DIRECTORY|PYTHON.*|VIRTUAL_ENV"
)


def clean_environ() -> dict[str, str]:
    """The environment without the product's settings and without hints to another Python."""
    environ = {
        name: value for name, value in os.environ.items() if not OWN_SETTINGS.fullmatch(name)
    }
    return environ | {"PYTHONUNBUFFERED": "1"}


def run(command: list[str | Path], cwd: Path, seconds: float) -> str:
    """The combined output of a command, which must end in time and with 0."""
    with started(command, cwd, cwd / "output.txt", clean_environ()) as process:
        code = process.wait(seconds)
    output = (cwd / "output.txt").read_text(encoding="utf-8")
    assert code == 0, f"{command} ended with {code}:\n{output}"
    return output


@contextmanager
def started(
    command: list[str | Path], cwd: Path, output: Path, environ: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes into the file `output`; the block's end kills it if it still runs."""
    with output.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        # As long as it was not waited for, its number cannot be another's.
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(
    pattern: str, output: Path, process: subprocess.Popen[bytes], seconds: float = LOCAL_SECONDS
) -> re.Match[str]:
    """The first match of `pattern` in what the process writes; fails if it ends or is too slow."""
    deadline = time.monotonic() + seconds
    while True:
        ended = process.poll() is not None
        text = output.read_text(encoding="utf-8", errors="replace")
        if match := re.search(pattern, text):
            return match
        assert not ended, f"ended with {process.returncode} before {pattern!r}:\n{text}"
        assert time.monotonic() < deadline, f"no {pattern!r} in time:\n{text}"
        time.sleep(POLL_SECONDS)


def copy_sources(target: Path) -> Path:
    """A copy of the checkout, so that building leaves nothing in the real one."""
    shutil.copytree(ROOT, target, ignore=NOT_SOURCE)
    return target


def make_environment(folder: Path) -> Path:
    """A new virtual environment that sees no other packages; returns its folder of commands."""
    run([sys.executable, "-m", "venv", folder], folder.parent, LOCAL_SECONDS)
    return folder / "bin"


def pip_install(commands: Path, cwd: Path, *what: str | Path) -> None:
    """Installs packages into the environment whose commands are given."""
    run([commands / "python", "-m", "pip", "install", "--quiet", *what], cwd, INSTALL_SECONDS)


def assert_listed(commands: Path, folder: Path) -> None:
    """Holds if both of Twisted's commands, started in `folder`, list the plugin."""
    folder.mkdir()
    for command in ("twistd", "twist"):
        listing = run([commands / command, "--help"], folder, LOCAL_SECONDS)
        assert re.search(r"^\s+kpiggybank\s+\S", listing, re.MULTILINE), f"{command}:\n{listing}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = copy_sources(folder / "sources")
    run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, sources],
        folder,
        INSTALL_SECONDS,
    )
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a new environment, in which only the wheel is installed."""
    folder = tmp_path_factory.mktemp("installed")
    commands = make_environment(folder / "venv")
    pip_install(commands, folder, wheel)
    return commands


def test_setup_names_every_package() -> None:
    """A subpackage that setup.py forgets works in the checkout and is missing once installed."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    [named] = [
        ast.literal_eval(keyword.value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "packages"
    ]
    found = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for init in (ROOT / "kpiggybank").rglob("__init__.py")
    }
    assert sorted(named) == sorted(found | {"twisted.plugins"})


def test_twisted_folder_is_no_package() -> None:
    """An __init__.py below twisted/ would overwrite Twisted's own, or hide it."""
    assert list((ROOT / "twisted").rglob("__init__.py")) == []


def test_wheel_holds_every_source_file(wheel: Path) -> None:
    """Every file of the product is in the wheel, and nothing but the product is."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = wheel.parent / "sources"
    expected = {
        path.relative_to(sources).as_posix()
        for path in (sources / "kpiggybank").rglob("*")
        if path.is_file()
    }
    assert packed == expected | {"twisted/plugins/kpiggybank_plugin.py"}


def test_installed_wheel_is_listed(commands: Path, tmp_path: Path) -> None:
    """After `pip install .`, `twistd` and `twist` offer the plugin from any folder."""
    assert_listed(commands, tmp_path / "elsewhere")


def test_installed_wheel_serves(commands: Path, tmp_path: Path) -> None:
    """The installed daemon says where it listens, answers there, and ends with 0 on SIGTERM."""
    command: list[str | Path] = [commands / "twistd", "-n", "--pidfile=", "kpiggybank"]
    command += ["--db-backend", "memory", "--port", "0"]
    output = tmp_path / "output.txt"
    with started(command, tmp_path, output, clean_environ()) as daemon:
        match = wait_for(r"http://127\.0\.0\.1:([1-9]\d*)\b", output, daemon)
        connection = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=LOCAL_SECONDS)
        try:
            connection.request("GET", "/wsapi/ping")
            response = connection.getresponse()
            assert (response.status, response.read().strip()) == (200, b"pong")
        finally:
            connection.close()
        daemon.terminate()
        code = daemon.wait(LOCAL_SECONDS)
    assert code == 0, output.read_text(encoding="utf-8")


def test_editable_install_is_listed(tmp_path: Path) -> None:
    """After `pip install -e .`, too, Twisted finds the plugin: an import hook would hide it."""
    sources = copy_sources(tmp_path / "sources")
    commands = make_environment(tmp_path / "venv")
    pip_install(commands, tmp_path, "--editable", sources)
    assert_listed(commands, tmp_path / "elsewhere")


def test_make_run(tmp_path: Path) -> None:
    """The first command of README, in a fresh checkout, ends with a daemon that takes events."""
    sources = copy_sources(tmp_path / "sources")
    output = tmp_path / "output.txt"
    environ = clean_environ() | {"PORT": "0"}
    with started(["make", "run"], sources, output, environ) as daemon:
        match = wait_for(
            r"listens at http://(\S+); store: sqlite, (.+)", output, daemon, INSTALL_SECONDS
        )
        wait_for(rf"try: curl -d '.*' http://{match[1]}/wsapi/interaction_data", output, daemon)
        connection = http.client.HTTPConnection(match[1], timeout=LOCAL_SECONDS)
        try:
            head = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", "/wsapi/interaction_data", 'data={"timestamp": 1}', head)
            assert connection.getresponse().status == 201
        finally:
            connection.close()
        os.killpg(daemon.pid, signal.SIGINT)
        wait_for("KPIggyBank has stopped", output, daemon)
    assert Path(match[2]) == sources / "bid_kpi.sqlite3"
    assert Path(match[2]).exists()
