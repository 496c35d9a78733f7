"""One Atom for the tests of the feed that do not end it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest_asyncio

from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.own_postgres import own
from tests.support.planted import with_keys

__all__ = ["own"]


@pytest_asyncio.fixture(scope="module")
async def shared(cluster: Any, open_folder: Path) -> AsyncIterator[RunningAtom]:
    home = open_folder / uuid4().hex[:8]
    home.mkdir(mode=0o711)
    name = f"feed_{uuid4().hex[:12]}"
    database = cluster.create(name, "atom_template")
    async with running_atom(with_keys(settings_for_tests(home)), database) as atom:
        yield atom
    cluster.drop(name)
