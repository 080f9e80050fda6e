"""How a SQLite file is opened, or made. Like all of `DatabaseFile` this blocks."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import closing, suppress
from importlib import resources
from pathlib import Path

import apsw
from twisted.logger import Logger

from kpiggybank.interfaces import StoreDamaged, StoreUnavailable
from kpiggybank.stores.sequence import Sequence
from kpiggybank.stores.sqlite import rows, upgrade
from kpiggybank.stores.sqlite.connections import BUSY_MILLISECONDS, connect
from kpiggybank.stores.sqlite.errors import RESTORE, DriverErrors
from kpiggybank.stores.sqlite.file import LOG_BYTES, DatabaseFile
from kpiggybank.stores.sqlite.place import forget_unsynced
from kpiggybank.stores.sqlite.unfinished import unfinished
from kpiggybank.stores.sqlite.wal import (
    closed_in_order,
    commits_behind,
    lacks_its_end,
    log_of,
    log_size,
    missing_log,
)

#: `PRAGMA application_id` of our files: "KPIg".
APPLICATION_ID = 0x4B504967
VERSION = 2

#: How long a file that was closed in order is looked over; another one is, to its end.
LOOK_SECONDS = 1.0
#: How long those are waited for who read a file without a log.
READ_MILLISECONDS = 60_000

#: The size of the header that each database has, in bytes.
_SMALLEST = 100
#: Steps of SQLite's machine between two looks at the clock.
_STEPS = 10_000

_log = Logger()


def open_file(path: str) -> DatabaseFile:
    """Open a database, made anew where there is none, and keep all others out.

    Raises:
        StoreDamaged: it is ours, and damaged.
        StoreUnavailable: it is in use, is not ours, or cannot be opened.

    The text of both is one line.
    """
    try:
        _make_folder(Path(path).parent)
        if not os.path.lexists(path):
            if log_size(path):
                raise StoreUnavailable(
                    f"{path} is not there, but its log {log_of(path)} is, which has its newest"
                    " events: put it back, or move the log away"
                )
            _create(path)
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except BlockingIOError:
        raise _in_use(path) from None
    except OSError as error:
        raise StoreUnavailable(f"cannot open {path}: {error.strerror}") from error
    try:
        # SQLite's own locks are of another kind and last for a transaction only.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_size < _SMALLEST:
            raise _damaged(path, "it is shorter than any database")
        return _open(path, lock)
    except BaseException as error:
        os.close(lock)
        if isinstance(error, OSError) and not isinstance(error, BlockingIOError):
            raise StoreUnavailable(f"cannot open {path}: {error.strerror}") from error
        if isinstance(error, BlockingIOError):
            raise _in_use(path) from None
        if isinstance(error.__cause__, apsw.NotADBError):
            raise StoreUnavailable(
                f"{path} is no SQLite database, or damaged at its beginning;"
                f" use another DB_NAME, or {RESTORE}"
            ) from None
        if isinstance(error.__cause__, apsw.CorruptError):
            raise _damaged(path, str(error.__cause__)) from None
        raise


def _open(path: str, lock: int) -> DatabaseFile:
    # All of this is before SQLite looks at it, whose locks would be gone when such a look ends.
    in_order, logged, remark = closed_in_order(lock), log_size(path) > 0, missing_log(path)
    if in_order and logged:
        raise StoreUnavailable(
            f"{path} was closed in order, so {log_of(path)} is not its log; move that away"
        )
    if not in_order:
        forget_unsynced(lock, log_of(path))
    if lacks_its_end(path):
        how = "what was acknowledged is missing at its end" if remark is None else "it is gone"
        raise _damaged(log_of(path), how)
    with DriverErrors(f"open {path}"):
        writer = connect(path)
        try:
            if writer.pragma("application_id") != APPLICATION_ID:
                raise StoreUnavailable(
                    f"{path} is a database of another program; use another DB_NAME"
                )
            if remark is not None:
                _log.warn("{remark}", remark=remark)
            _look_for_end(path, lock, writer)
            _look_over(path, writer, in_order)
            _check_version(path, writer)
            _begin_log(path, writer)
            writer.pragma("journal_size_limit", LOG_BYTES)
            if not in_order:
                _sync_log(path, writer)
                _look_for_end(path, lock, writer)
            generation, removed = writer.execute("SELECT generation, removed FROM bank").get
            ancestors = dict(writer.execute("SELECT generation, newest FROM ancestor"))
            newest = rows.greatest(writer)
            sync_folder(Path(log_of(path)).parent)  # so does SQLite, but it passes over errors
        except BaseException:
            if logged:  # what is damaged stays as it is, its log included
                writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            writer.close()
            raise
    return DatabaseFile(path, lock, writer, Sequence(generation, ancestors), newest, removed)


def _begin_log(path: str, connection: apsw.Connection) -> None:
    """Have a log from now on, which cannot begin while others read a file that has none."""
    try:
        connection.pragma("journal_mode", "wal")
    except apsw.BusyError:
        _log.warn("{path} is read by another program, which is waited for", path=path)
        connection.set_busy_timeout(READ_MILLISECONDS)
        connection.pragma("journal_mode", "wal")
        connection.set_busy_timeout(BUSY_MILLISECONDS)


def _sync_log(path: str, connection: apsw.Connection) -> None:
    """Have on the disk what was in the log, and begin it anew, unless it is needed yet.

    It is where there is no room for its content, or others read from it.

    Who was killed between write and sync has left what looks like any other commit, and may be lost
    yet: it is synced before anybody builds on it. The log is not emptied: if only its index is an
    old one after a power cut, that would look as if something were missing.
    """
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
    except (apsw.FullError, apsw.BusyError):
        with open(log_of(path), "rb") as log:
            os.fsync(log.fileno())
        sync_folder(Path(log_of(path)).parent)


def connect_to_read(path: str) -> apsw.Connection:
    """A connection that only reads a database of ours, whoever else uses it.

    Where its log is missing, that can be seen after it, too. Not to be asked by a process that has
    another connection to it, which would lose its locks.

    Raises:
        StoreUnavailable: it is none of ours.
        apsw.Error: it cannot be opened.
    """
    return _reading(path, "mode=ro")


def connect_to_look(path: str) -> apsw.Connection:
    """As `connect_to_read`, where the log is damaged and nobody uses it: its index stays."""
    return _reading(path, "mode=ro&readonly_shm=1")


def _reading(path: str, options: str) -> apsw.Connection:
    if missing_log(path) is not None:
        options = "immutable=1"  # SQLite would make a new one
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(f"{Path(path).absolute().as_uri()}?{options}", flags=flags)
    connection.set_busy_timeout(5000)
    if connection.pragma("application_id") != APPLICATION_ID:
        connection.close()
        raise StoreUnavailable(f"{path} is no database of a KPIggyBank")
    return connection


def _make_folder(folder: Path) -> None:
    """Make a folder that is still there after a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _schema() -> str:
    return resources.files(__package__).joinpath("schema.sql").read_text()


def _create(path: str) -> None:
    """Make a database that has its name only when it is whole: an empty file is no beginning."""
    with unfinished(path) as fresh:
        with DriverErrors(f"make {path}"), closing(connect(fresh)) as connection, connection:
            connection.execute(_schema())
            life = Sequence().generation
            connection.execute("INSERT INTO bank VALUES (?, ?, 0)", (VERSION, life))
            connection.pragma("application_id", APPLICATION_ID)
        with suppress(FileExistsError):  # somebody else was faster
            os.link(fresh, path)
    sync_folder(Path(path).parent)
    _log.info("{path} is new", path=path)


def _check_version(path: str, connection: apsw.Connection) -> None:
    version = connection.execute("SELECT version FROM bank").get
    if version == 1:
        _log.info("{path} is brought from schema version 1 to {new}", path=path, new=VERSION)
        upgrade.from_first(connection, _schema())
    elif version != VERSION:
        raise StoreUnavailable(
            f"{path} has schema version {version}, and only {VERSION} and 1 are known"
        )


def _look_over(path: str, connection: apsw.Connection, in_order: bool) -> None:
    """Look for pages that are not what they should be.

    All of them where the last stop was none in order, and otherwise as many as there is time for.
    """
    if in_order:
        deadline = time.monotonic() + LOOK_SECONDS
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    else:
        _log.info("{path} was not closed in order, so all of it is checked now", path=path)
        if log_size(path):
            _look_over_log(path, connection)
    try:
        found = connection.execute("PRAGMA quick_check(1)").get
    except apsw.InterruptError:
        return
    finally:
        connection.set_progress_handler(None)
    if found != "ok":
        raise _damaged(path, found)


def _look_over_log(path: str, connection: apsw.Connection) -> None:
    """Look for commits in the log that SQLite does not see."""
    frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    if commits_behind(path, frames, connection.pragma("page_size")):
        raise _damaged(log_of(path), "what was acknowledged cannot be read in it")


def _look_for_end(path: str, lock: int, connection: apsw.Connection) -> None:
    """See that the last page is whole; but what is in the log may have no place yet."""
    size = connection.pragma("page_count") * connection.pragma("page_size")
    frames, merged = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    if frames == merged and os.fstat(lock).st_size < size:
        raise _damaged(path, "its last page is cut short")


def _in_use(path: str) -> StoreUnavailable:
    return StoreUnavailable(f"{path} is in use by another KPIggyBank")


def _damaged(path: str, how: str) -> StoreDamaged:
    detail = " ".join(how.split())
    return StoreDamaged(f"{path} is damaged ({detail}); {RESTORE}")
