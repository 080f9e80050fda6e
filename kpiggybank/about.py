"""What runs here: its name, its version, and the code that it was made of."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import attrs

import kpiggybank

_COMMIT = re.compile("[0-9a-f]{40,64}")


@attrs.frozen
class About:
    """What runs here.

    Attributes:
        source: where its code is; empty where that is not known.
        commit: which of it; empty where that is not known.
    """

    name: str
    version: str
    source: str
    commit: str


def about(source: str = "", commit: str = "") -> About:
    """What runs here, given what is known of its code; reads files, so ask once."""
    commit = commit or checked_out(Path(__file__).parents[1])
    return About("kpiggybank", kpiggybank.__version__, source, commit)


def checked_out(folder: Path) -> str:
    """The commit that git has checked out in a folder; empty where it is not a checkout's."""
    git = folder / ".git"
    with suppress(OSError, UnicodeDecodeError):
        if git.is_file():  # a further working tree
            git = folder / git.read_text().removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text().strip()
        if _COMMIT.fullmatch(head):
            return head
        name = head.removeprefix("ref:").strip()
        common = git / "commondir"
        shared = git / common.read_text().strip() if common.is_file() else git
        if (shared / name).is_file():
            commit = (shared / name).read_text().strip()
            return commit if _COMMIT.fullmatch(commit) else ""
        for line in (shared / "packed-refs").read_text().splitlines():
            commit, _, packed = line.partition(" ")
            if packed == name and _COMMIT.fullmatch(commit):
                return commit
    return ""
