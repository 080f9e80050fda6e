-- The database of a KPIggyBank. `PRAGMA application_id` says that it is one.

-- One row: what this file is.
CREATE TABLE bank (
    version    INTEGER NOT NULL, -- of this schema
    generation TEXT NOT NULL,    -- this file's life: part of every cursor, so that another's is refused
    removed    INTEGER NOT NULL  -- events that people have deleted: the count is max(seq) without them
) STRICT;

-- The lives of the files that this one is a backup of: their cursors are good here, up to a place.
CREATE TABLE ancestor (
    generation TEXT PRIMARY KEY,
    newest     INTEGER NOT NULL -- the greatest seq when the backup was made
) STRICT;

CREATE TABLE event (
    seq       INTEGER PRIMARY KEY, -- order of arrival, from 1, without gaps
    id        TEXT NOT NULL,       -- the event's name
    timestamp ANY NOT NULL,        -- the event's own time; ANY keeps 1 and 1.0 apart; see events.sortable
    json      TEXT NOT NULL,       -- the event: compact JSON on one line
    checksum  INTEGER NOT NULL     -- CRC-32 of the others; see rows.checksum
) STRICT;

-- Ids made by the server are in order of time, so this index grows at its end.
CREATE UNIQUE INDEX event_id ON event (id);

-- Ranges are in the order of timestamp, then arrival: every index entry ends with seq.
CREATE INDEX event_timestamp ON event (timestamp);

-- KPIggyBank deletes nothing. People may, while it is stopped; all but the newest event, after which
-- the numbers go on: a number that were used twice would make a cursor mean two places.
CREATE TRIGGER event_removed BEFORE DELETE ON event BEGIN
    SELECT raise(ABORT, 'the newest event must stay') WHERE OLD.seq = (SELECT max(seq) FROM event);
    UPDATE bank SET removed = removed + 1;
END;
