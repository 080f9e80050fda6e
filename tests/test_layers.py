"""The house's rules: who may import whom, and the few words that may stand in one place only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kpiggybank"
MODULES = sorted(PACKAGE.rglob("*.py"))

#: What each part of the house may import of the house.
ALLOWED = {
    "decoding": set[str](),
    "texts": set[str](),
    "where": {"decoding"},
    "events": {"decoding", "texts", "where"},
    "rules": {"events"},
    "kinds": set[str](),
    "shape": {"decoding", "events", "kinds", "rules"},
    "quickly": {"events", "rules", "shape", "texts"},
    "thoroughly": {"decoding", "events", "rules", "texts"},
    "parsing": {"events", "quickly", "rules", "thoroughly"},
    "sample": set[str](),
    "shield": set[str](),
    "mint": set[str](),
    "settings": {"values"},
    "tokens": {"values"},
    "words": set[str](),
    "config": {"settings"},
    "logs": set[str](),
    "about": set[str](),
    "files": set[str](),
    "metrics": {"about", "bank", "events", "interfaces", "tally"},
    "heap": set[str](),
    "tally": set[str](),
    "interfaces": {"events", "tally"},
    "notify": {"interfaces"},
    "pieces": {"events", "where"},
    "feed": {"pieces", "interfaces", "events", "shield"},
    "follower": {"feed", "pieces", "interfaces", "where"},
    "bank": {"feed", "follower", "interfaces", "events", "mint", "shield", "tally", "where"},
    "stores": {
        *("stores", "interfaces", "decoding", "events", "mint", "outgoing", "sample", "shield"),
        *("tally", "words"),
    },
    "web": {
        *("about", "web", "bank", "pieces", "events", "interfaces", "parsing", "tally", "tokens"),
        *("rules", "where", "words"),
    },
    "check": {"stores", "interfaces"},
    "backup": {"stores", "interfaces"},
    "values": set[str](),
    "service": {
        "web",
        "stores",
        "bank",
        "feed",
        "interfaces",
        "notify",
        "values",
        "tokens",
        "words",
    },
    "plugin": {
        *("web", "stores", "bank", "config", "events", "files", "settings", "values", "tokens"),
        *("interfaces", "notify", "logs", "about", "metrics", "heap", "service"),
    },
    # The parts of the client are nobody else's business.
    "client": {
        *("_callbacks", "_calls", "_stream", "_retry", "_lines", "_wire"),
        *("mint", "outgoing", "shield"),
    },
    "_callbacks": {"_lines", "_wire"},
    "_calls": set[str](),
    "_stream": {"_retry", "_lines", "_wire", "outgoing"},
    "_retry": {"_wire", "outgoing"},
    "_lines": set[str](),
    "_wire": {"outgoing", "shield", "words"},
    "outgoing": {"outgoing"},
    "demo": {"client", "sample"},
    "__init__": {"client"},
}
ADAPTERS = {"memory", "dummy", "sqlite", "couchdb"}


def part(module: Path) -> str:
    """The part of the house that a file belongs to."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    """The dotted names that a file imports, at its top or within functions."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where things come from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_imports_upwards(module: Path) -> None:
    """A part imports only what is below it."""
    allowed = ALLOWED[part(module)]
    for name in imports(module):
        if name.startswith("kpiggybank."):
            assert name.split(".")[1] in allowed, f"{module.name} imports {name}"


def test_adapters_do_not_know_each_other() -> None:
    """Only the table in `stores/__init__` knows more than one adapter."""
    stores = PACKAGE / "stores"
    for module in stores.rglob("*.py"):
        own = module.relative_to(stores).parts[0].removesuffix(".py")
        if own != "__init__":
            known = {name.split(".")[2] for name in imports(module) if ".stores." in name}
            assert known & (ADAPTERS - {own}) == set(), module.name


@pytest.mark.parametrize(
    ("name", "homes"),
    [
        ("twisted.internet.reactor", {"plugin", "client"}),
        ("treq", {"client"}),
        ("klein", {"web"}),
        ("apsw", {"stores"}),
        ("prometheus_client", {"metrics"}),
    ],
)
def test_what_has_one_home(name: str, homes: set[str]) -> None:
    """Only these parts import these things."""
    users = {
        part(module)
        for module in MODULES
        if any(imported == name or imported.startswith(f"{name}.") for imported in imports(module))
    }
    assert users == homes


def test_only_two_places_read_the_environment() -> None:
    """The environment is read in one place, and handed on as settings."""
    readers = {part(module) for module in MODULES if "environ[" in module.read_text()}
    assert readers <= {"config"}
    assert {part(m) for m in MODULES if "os.environ" in m.read_text()} == {"plugin"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_too_long(module: Path) -> None:
    """A file beyond about 300 lines is missing a noun."""
    assert len(module.read_text().splitlines()) <= 320
