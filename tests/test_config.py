"""The settings: option beats environment beats default, and a wrong value says what is right."""

from __future__ import annotations

import pytest

from kpiggybank.config import Config
from kpiggybank.settings import SETTINGS
from kpiggybank.values import ConfigError

DEFAULTS = {
    "db_backend": "couchdb",
    "db_host": "127.0.0.1",
    "db_port": 5984,
    "db_name": "bid_kpi",
    "db_user": "kpiggybank",
    "db_pass": "kpiggybank",
    "db_connect_timeout": 2.0,
    "db_answer_timeout": 4.0,
    "db_total_timeout": 4.5,
    "host": "127.0.0.1",
    "port": 3000,
    "listen": "",
    "stall_timeout": 60.0,
    "write_token": (),
    "write_token_file": "",
    "read_token": (),
    "read_token_file": "",
    "allow_anonymous": False,
    "cors_origins": (),
    "cors_read": False,
    "allowed_hosts": (),
    "max_body": 8 * 2**20,
    "max_event": 256 * 2**10,
    "max_depth": 64,
    "max_events": 10_000,
    "max_connections": 10_000,
    "max_requests": 2_000,
    "max_request_bytes": 64 * 2**20,
    "head_timeout": 10.0,
    "body_timeout": 30.0,
    "idle_timeout": 60.0,
    "data_dir": ".",
    "mode": "dev",
    "log_format": "text",
    "access_log": "",
    "metrics": "",
    "source_url": "",
    "source_commit": "",
}


def test_defaults() -> None:
    """With nothing said, the documented defaults are in force."""
    config = Config.from_environ({})
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS


def test_every_setting_is_here() -> None:
    """This file knows all of them."""
    assert {setting.attribute for setting in SETTINGS} == set(DEFAULTS)


def test_environment_beats_default() -> None:
    """A variable is taken."""
    assert Config.from_environ({"PORT": "80"}).port == 80


def test_option_beats_environment() -> None:
    """An option is taken before a variable, even a wrong one; one not given is none."""
    config = Config.from_environ({"PORT": "abc", "MODE": "prod"}, {"port": "81", "mode": None})
    assert (config.port, config.mode) == (81, "prod")


def test_empty_variable_is_the_default() -> None:
    """A variable set to nothing says nothing, but a user or password may be empty."""
    environ = dict.fromkeys((setting.variable for setting in SETTINGS), "")
    config = Config.from_environ(environ)
    expected = {**DEFAULTS, "db_user": "", "db_pass": ""}
    assert {name: getattr(config, name) for name in DEFAULTS} == expected


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("256KiB", 256 * 2**10), ("8 MiB", 8 * 2**20), ("1GiB", 2**30)],
)
def test_sizes(text: str, size: int) -> None:
    """A size is in bytes, or says in what."""
    assert Config.from_environ({"MAX_BODY": text}).max_body == size


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DB_BACKEND", "oracle"),
        ("DB_BACKEND", "SQLite"),
        ("DB_HOST", "a b"),
        ("DB_PORT", "65536"),
        ("DB_TOTAL_TIMEOUT", "0"),
        ("DB_TOTAL_TIMEOUT", "-1"),
        ("DB_ANSWER_TIMEOUT", "nan"),
        ("DB_CONNECT_TIMEOUT", "1e3"),
        ("DB_NAME", "../etc/passwd"),
        ("DB_NAME", "1st"),
        ("DB_NAME", "x" * 300),
        ("HOST", " "),
        ("PORT", "abc"),
        ("PORT", "-1"),
        ("PORT", "3000.0"),
        ("PORT", "٣"),
        ("STALL_TIMEOUT", "0"),
        ("WRITE_TOKEN", ","),
        ("WRITE_TOKEN", "a,,b"),
        ("READ_TOKEN", "two words"),
        ("READ_TOKEN", "schlüssel"),
        ("READ_TOKEN", "a\nb"),
        ("ALLOW_ANONYMOUS", "yes"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "kpi.example"),
        ("CORS_ORIGINS", "https://kpi.example/"),
        ("CORS_ORIGINS", "https://KPI.example"),
        ("CORS_READ", "true"),
        ("ALLOWED_HOSTS", "kpi.example:3000"),
        ("ALLOWED_HOSTS", "*"),
        ("MAX_BODY", "0"),
        ("MAX_BODY", "8 MB"),
        ("MAX_EVENT", "-1"),
        ("MAX_DEPTH", "0"),
        ("MAX_EVENTS", "100001"),
        ("MAX_CONNECTIONS", "many"),
        ("MODE", "loud"),
        ("LOG_FORMAT", "xml"),
        ("ACCESS_LOG", "yes"),
    ],
)
def test_wrong_value(variable: str, value: str) -> None:
    """The complaint is one line that names the variable and what it takes."""
    accepts = {setting.variable: setting.accepts for setting in SETTINGS}[variable]
    with pytest.raises(ConfigError) as refused:
        Config.from_environ({variable: value})
    assert str(refused.value).startswith(f"{variable} takes {accepts}, not ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/kpi"}, "/var/lib/kpi"),
        ({"STATE_DIRECTORY": "/var/lib/kpi:/var/lib/other"}, "/var/lib/kpi"),
        ({"STATE_DIRECTORY": "/var/lib/kpi", "DATA_DIR": "/data"}, "/data"),
        ({"STATE_DIRECTORY": "/var/lib/kpi", "DATA_DIR": ""}, "/var/lib/kpi"),
    ],
)
def test_data_dir(environ: dict[str, str], folder: str) -> None:
    """What the operator says, else what systemd says, else the working folder."""
    assert Config.from_environ(environ).data_dir == folder


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({}, "tcp:3000:interface=127.0.0.1:backlog=1000"),
        ({"HOST": "::1", "PORT": "0"}, r"tcp:0:interface=\:\:1:backlog=1000"),
        ({"LISTEN": "unix:/run/kpi.sock", "PORT": "80"}, "unix:/run/kpi.sock"),
    ],
)
def test_endpoint(environ: dict[str, str], endpoint: str) -> None:
    """HOST and PORT become an endpoint, unless LISTEN is one."""
    assert Config.from_environ(environ).endpoint == endpoint


@pytest.mark.parametrize("variable", ["DB_PASS", "WRITE_TOKEN", "READ_TOKEN"])
def test_secrets_are_not_shown(variable: str) -> None:
    """Whoever prints the settings does not print a password or a token."""
    assert "s3cret" not in repr(Config.from_environ({variable: "s3cret"}))


@pytest.mark.parametrize("variable", ["WRITE_TOKEN", "READ_TOKEN"])
def test_wrong_token_is_not_shown(variable: str) -> None:
    """A complaint of what is no token does not tell it: it may be one with a slip."""
    with pytest.raises(ConfigError) as refused:
        Config.from_environ({variable: "s3cret s3cret"})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("WRITE_TOKEN", "one", ("one",)),
        ("READ_TOKEN", "one, two", ("one", "two")),
        ("CORS_ORIGINS", "https://kpi.example,http://[::1]:8080", None),
        ("CORS_ORIGINS", "moz-extension://4f2a", None),
        ("ALLOWED_HOSTS", "kpi.example,10.0.0.1,[fd00::1]", None),
    ],
)
def test_list(variable: str, text: str, value: tuple[str, ...] | None) -> None:
    """Some settings are lists, separated by commas, with spaces or without."""
    config = Config.from_environ({variable: text})
    assert getattr(config, variable.lower()) == (value or tuple(text.split(",")))
