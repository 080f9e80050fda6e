"""What README and env.sh.dist say is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kpiggybank.settings import SETTINGS
from kpiggybank.stores import NAMES
from kpiggybank.values import Setting
from kpiggybank.web.wsapi import WsApi

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ENVIRONMENT = (ROOT / "env.sh.dist").read_text()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_settings_are_documented(setting: Setting) -> None:
    """Every setting stands in both, with its default."""
    assert re.search(rf"^export {setting.variable}={setting.default}$", ENVIRONMENT, re.MULTILINE)
    (row,) = [
        line for line in README.splitlines() if re.match(rf"\|.*`{setting.variable}`.*\|", line)
    ]
    if setting.default:
        assert f"`{setting.default}`" in row


def test_no_other_settings_are_documented() -> None:
    """Neither speaks of a setting that does not exist."""
    known = {setting.variable for setting in SETTINGS}
    assert set(re.findall(r"^export (\w+)=", ENVIRONMENT, re.MULTILINE)) == known


def test_routes_are_documented() -> None:
    """README's table has the routes that are there, and no others."""
    routes = {
        (method, rule.rule)
        for rule in WsApi.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
    }
    routes.add(("GET", "/"))  # the live page, which is no part of the API
    documented = set(re.findall(r"^\| `(GET|POST) (/[^`?]*)", README, re.MULTILINE))
    assert documented == routes


def test_stores_are_documented() -> None:
    """README's table has every store."""
    section = README.partition("## Stores")[2].partition("##")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(NAMES)
