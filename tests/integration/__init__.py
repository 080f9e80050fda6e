"""Tests that run real processes: built packages, daemons, servers."""
