"""How a file of an earlier version becomes one of this version."""

from __future__ import annotations

from typing import Any

import apsw

from kpiggybank.stores.sqlite import rows

# The column is not as in schema.sql, where it has no default; all else about it is the same.
_FROM_FIRST = """
    ALTER TABLE bank ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;
    UPDATE bank SET version = 2,
                    removed = (SELECT coalesce(max(seq), 0) - count(*) FROM event);
    CREATE TABLE ancestor (generation TEXT PRIMARY KEY, newest INTEGER NOT NULL) STRICT;
    ALTER TABLE event ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
    UPDATE event SET checksum = checksum_of(seq, id, timestamp, CAST(json AS BLOB));
"""


def from_first(connection: apsw.Connection, schema: str) -> None:
    """Version 1 had no checksums, and did not know whether people had deleted events.

    Args:
        connection: the only one to the file.
        schema: that of this version.
    """
    checksum: Any = rows.checksum
    connection.create_scalar_function("checksum_of", checksum, 4, deterministic=True)
    with connection:  # one transaction
        connection.execute(_FROM_FIRST)
        connection.execute("".join(schema.partition("CREATE TRIGGER")[1:]))
