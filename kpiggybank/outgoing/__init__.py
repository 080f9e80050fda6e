"""HTTP as we ask it of others: the parts that the client and the CouchDB store share."""
