"""The settings: option beats environment beats default, and a wrong value says what is right."""

from __future__ import annotations

import pytest

from kpiggybank.config import Config
from kpiggybank.settings import SETTINGS, ConfigError

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


def test_password_is_not_shown() -> None:
    """Whoever prints the settings does not print the password."""
    assert "s3cret" not in repr(Config.from_environ({"DB_PASS": "s3cret"}))
