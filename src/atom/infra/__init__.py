"""Adapters to what Atom runs on: database, HTTP, logs, metrics. Knows no domain."""
