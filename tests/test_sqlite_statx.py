"""Looking at files without asking for their times."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kpiggybank.stores.sqlite import statx


def _forbidden(*_: object) -> int:
    return -1


@pytest.fixture(params=["own", "forbidden", "missing"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's `statx`, with one that it forbids, and without one."""
    ways: dict[str, Callable[..., int] | None] = {
        "own": statx._statx,
        "forbidden": _forbidden,
        "missing": None,
    }
    monkeypatch.setattr(statx, "_statx", ways[request.param])


@pytest.mark.usefixtures("_way")
def test_as_stat_sees_it(tmp_path: Path) -> None:
    """Device, inode and size are those of `os.stat`, also through a link and of large files."""
    file, link = tmp_path / "f\udce9 ä", tmp_path / "link"
    link.symlink_to(file)
    for size in (0, 5, 2**33 + 1):
        file.touch()
        os.truncate(file, size)  # a hole
        for path in (file, link, tmp_path, Path("/proc/self/status"), Path("/dev/null")):
            found = os.stat(path)
            assert statx.sight(str(path)) == (found.st_dev, found.st_ino, found.st_size)


@pytest.mark.usefixtures("_way")
def test_missing_file(tmp_path: Path) -> None:
    """Where there is nothing, the error says so."""
    with pytest.raises(FileNotFoundError, match="gone"):
        statx.sight(str(tmp_path / "gone"))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        statx.sight(str(tmp_path / "file" / "gone"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
def test_linux_has_it() -> None:
    """Otherwise each commit would ask for times."""
    assert statx._statx is not None
