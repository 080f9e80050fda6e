"""How a SQLite file is opened, or made. Like all of `DatabaseFile` this blocks."""

from __future__ import annotations

import fcntl
import os
from importlib import resources

import apsw

from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.stores.sequence import Sequence
from kpiggybank.stores.sqlite_file import DatabaseFile, connect, driver_errors, greatest

#: `PRAGMA application_id` of our files: "KPIg".
APPLICATION_ID = 0x4B504967
VERSION = 1


def open_file(path: str) -> DatabaseFile:
    """Open a database, made anew where there is none, and keep all others out.

    Raises:
        StoreUnavailable: it is in use, is not ours, or cannot be opened; the text is one line.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StoreUnavailable(f"cannot open {path}: {error.strerror}") from error
    try:
        # SQLite's own locks are of another kind and last for a transaction only.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with driver_errors(f"open {path}"):
            writer = connect(path)
            try:
                _check_or_create(path, writer)
                sequence = Sequence(writer.execute("SELECT generation FROM bank").get)
                newest = greatest(writer)
            except BaseException:
                writer.close()
                raise
    except BaseException as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise StoreUnavailable(f"{path} is in use by another KPIggyBank") from None
        if isinstance(error.__cause__, apsw.NotADBError):
            raise StoreUnavailable(f"{path} is no SQLite database; use another DB_NAME") from None
        raise
    return DatabaseFile(path, lock, writer, sequence, newest)


def _check_or_create(path: str, connection: apsw.Connection) -> None:
    """Make sure that it is a database of ours, before anything in it is touched."""
    mark = connection.pragma("application_id")
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
    if empty and mark == 0:
        with connection:
            connection.execute(resources.files(__package__).joinpath("schema.sql").read_text())
            connection.execute("INSERT INTO bank VALUES (?, ?)", (VERSION, Sequence().generation))
            connection.pragma("application_id", APPLICATION_ID)
    elif mark != APPLICATION_ID:
        raise StoreUnavailable(f"{path} is a database of another program; use another DB_NAME")
    version = connection.execute("SELECT version FROM bank").get
    if version != VERSION:
        raise StoreUnavailable(f"{path} has schema version {version}, and only {VERSION} is known")
    connection.pragma("journal_mode", "wal")
