"""The store for several machines: a CouchDB, on one node or many."""
