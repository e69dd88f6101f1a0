"""A small application: it summarises documents and streams answers in background jobs, and keeps them in SQLite."""
