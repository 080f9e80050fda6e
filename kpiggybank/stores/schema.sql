-- The database of a KPIggyBank. `PRAGMA application_id` says that it is one.

-- One row: what this file is.
CREATE TABLE bank (
    version    INTEGER NOT NULL, -- of this schema
    generation TEXT NOT NULL     -- this file's life: part of every cursor, so that another's is refused
) STRICT;

CREATE TABLE event (
    seq       INTEGER PRIMARY KEY, -- order of arrival, from 1, without gaps
    id        TEXT NOT NULL,       -- the event's name
    timestamp ANY NOT NULL,        -- the event's own time; ANY keeps 1 and 1.0 apart; see events.sortable
    json      TEXT NOT NULL        -- the event: compact JSON on one line
) STRICT;

-- Ids made by the server are in order of time, so this index grows at its end.
CREATE UNIQUE INDEX event_id ON event (id);

-- Ranges are in the order of timestamp, then arrival: every index entry ends with seq.
CREATE INDEX event_timestamp ON event (timestamp);
