"""The operator's routes: heartbeats and the version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from kpiggybank import __version__
from kpiggybank.about import about, checked_out
from kpiggybank.events import Event, EventPage, Page, Range
from kpiggybank.interfaces import (
    IEventBank,
    IHasDisk,
    Space,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from kpiggybank.web.health import LOW_DISK_BYTES, STORE_SECONDS, WRITE_SECONDS
from tests.web_client import ROOT, Door, StagedStore, has_fired

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@implementer(IEventBank, IHasDisk)
class DiskStore(StagedStore):
    """A store on a disk, as the test says."""

    room: Space | Exception = Space(5, LOW_DISK_BYTES)
    silent = False
    refusal: StoreError | None = None

    def append(self, events: Sequence[Event], absent: Sequence[str] = ()) -> Deferred[None]:
        """Append, or not."""
        return super().append(events, absent) if self.refusal is None else fail(self.refusal)

    def space(self) -> Deferred[Space]:
        """The room, or not."""
        return fail(self.room) if isinstance(self.room, Exception) else succeed(self.room)

    def read(self, span: Range, page: Page) -> Deferred[EventPage]:
        """Read, or never."""
        return Deferred() if self.silent else super().read(span, page)


def heartbeat(door: Door) -> tuple[int, Any]:
    """The status and the value."""
    answer = door.request("GET", "/__heartbeat__")
    return answer.status, answer.value


def test_all_is_well() -> None:
    """With a disk it is told of, without one it is not."""
    writes = {"ok": True, "waiting": 0, "oldest_seconds": 0.0}
    checks = {"store": {"ok": True}, "writes": writes}
    assert heartbeat(Door()) == (200, {"ok": True, "checks": checks})
    disk = {"ok": True, "free_bytes": LOW_DISK_BYTES, "used_bytes": 5}
    assert heartbeat(Door(DiskStore())) == (200, {"ok": True, "checks": checks | {"disk": disk}})


@pytest.mark.parametrize(
    ("room", "reason"),
    [
        (Space(5, 0), None),
        (Space(5, LOW_DISK_BYTES, "it grows"), "it grows"),
        (StoreUnavailable("no disk"), "no disk"),
    ],
    ids=str,
)
def test_disk_is_told_of(room: Space | Exception, reason: str | None) -> None:
    """A disk that is nearly full, in trouble, or does not tell, is no failure: reads go on."""
    store = DiskStore()
    store.room = room
    status, value = heartbeat(Door(store))
    assert (status, value["ok"], value["checks"]["disk"]["ok"]) == (200, True, False)
    assert value["checks"]["disk"].get("reason") == reason


def test_last_write_failed() -> None:
    """A store that reads but does not write is told of, until it writes again."""
    store = DiskStore()
    door = Door(store)
    kind = {"Content-Type": "application/json"}
    for error, reason in ((StoreFull("no room"), "no room"), (None, None)):
        store.refusal = error
        answer = door.request("POST", ROOT, b'{"timestamp":1}', kind)
        assert answer.status == (201 if error is None else 507)
        status, value = heartbeat(door)
        writes = value["checks"]["writes"]
        assert (status, writes["ok"], writes.get("reason")) == (200, error is None, reason)


def test_store_fails() -> None:
    """A store that fails is a failure, and so is one that does not answer in time."""
    store = DiskStore(error=StoreUnavailable("it failed"))
    status, value = heartbeat(Door(store))
    assert (status, value["ok"], value["error"]) == (503, False, "unavailable")
    assert value["reason"] == value["checks"]["store"]["reason"] == "it failed"
    store.error, store.silent = None, True
    door = Door(store)
    answer = door.begin("GET", "/__heartbeat__")
    assert not has_fired(answer)
    door.clock.advance(STORE_SECONDS)
    door.flush()
    finished = door.finish(answer)
    assert (finished.status, finished.value["error"]) == (503, "unavailable")
    assert "did not answer within 5 seconds" in finished.value["reason"]


def test_write_that_waits() -> None:
    """A write that waits for too long is a failure, however well the store reads."""
    store = StagedStore(hold=Deferred())
    door = Door(store)
    door.bank.appends.clock = door.clock.seconds
    door.begin("POST", "/wsapi/interaction_data", b"data={%22timestamp%22:1}", FORM)
    door.clock.advance(WRITE_SECONDS)
    status, value = heartbeat(door)
    assert (status, value["checks"]["writes"]["waiting"]) == (200, 1)
    door.clock.advance(0.5)
    status, value = heartbeat(door)
    assert (status, value["reason"]) == (503, "a write has been waiting for 10 seconds")
    assert value["checks"]["store"] == {"ok": True}
    assert store.hold is not None
    store.hold.callback(None)
    assert heartbeat(door)[0] == 200


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_process_heartbeat() -> None:
    """It is well without the store."""
    answer = Door(StagedStore(error=StoreUnavailable("away"))).request("GET", "/__lbheartbeat__")
    assert (answer.status, answer.value) == (200, {"ok": True})


def test_version() -> None:
    """The name and the version, and what else is known."""
    value = Door().request("GET", "/__version__").value
    assert (value["name"], value["version"]) == ("kpiggybank", __version__)
    assert value.keys() <= {"name", "version", "commit"}
    assert about("https://code.example", "abc").source == "https://code.example"
    assert about("", "abc").commit == "abc"


def test_commit_of_a_checkout(tmp_path: Path) -> None:
    """The commit is found in a checkout, in each way that git keeps it, and nowhere else."""
    assert checked_out(tmp_path) == ""
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert checked_out(tmp_path) == ""
    (git / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/main\n")
    assert checked_out(tmp_path) == COMMIT
    (git / "refs" / "heads" / "main").write_text("f" * 40 + "\n")
    assert checked_out(tmp_path) == "f" * 40
    (git / "HEAD").write_text(COMMIT + "\n")
    assert checked_out(tmp_path) == COMMIT
    tree, own = tmp_path / "tree", git / "worktrees" / "tree"
    tree.mkdir()
    own.mkdir(parents=True)
    (tree / ".git").write_text(f"gitdir: {own}\n")
    (own / "HEAD").write_text("ref: refs/heads/main\n")
    (own / "commondir").write_text("../..\n")
    assert checked_out(tree) == "f" * 40
