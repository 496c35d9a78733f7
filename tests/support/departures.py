"""What a test is about to take away, shown first to whoever asked for it. Nobody does, except in a campaign."""

from collections.abc import Callable
from typing import Any

Listener = Callable[[Any], None]
DATABASE: list[Listener] = []  # the connection string of the superuser
REDIS: list[Listener] = []  # the address
PROCESS: list[Listener] = []  # the address of an Atom that serves


def departs(listeners: list[Listener], what: str) -> None:
    for listener in listeners:
        listener(what)
