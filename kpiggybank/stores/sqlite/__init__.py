"""The embedded store: one SQLite file, for one daemon on one machine."""
