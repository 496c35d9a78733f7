"""Backends of the sandbox."""
