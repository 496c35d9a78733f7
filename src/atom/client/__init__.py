"""Typed client of the public API."""

from atom.client.api import AtomClient
from atom.client.blocking import BlockingAtom

__all__ = ["AtomClient", "BlockingAtom"]
