"""SQLite: the request cache and the run store."""
