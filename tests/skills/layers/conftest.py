"""Layers on a folder of wheels, for the Python that programs get here."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from atom.kit.clock import FrozenClock
from atom.skills.layers.models import Target
from atom.skills.layers.pip import Source
from atom.skills.layers.service import Layers
from atom.skills.layers.shelf import Shelf
from atom.skills.layers.target import target_of
from atom.skills.sandbox.languages import find
from atom.skills.sandbox.models import Language
from tests.skills.sandbox.conftest import passable


@pytest.fixture(scope="session")
async def target() -> Target:
    python = find(as_other=True).get(Language.PYTHON)
    if python is None:
        pytest.skip("there is no Python that an ordinary user can execute")
    return await target_of(python.path)


@pytest.fixture
def folder() -> Iterator[Path]:
    with passable() as made:
        yield made


@pytest.fixture
def wheels(folder: Path) -> Path:
    made = folder / "wheels"
    made.mkdir()
    return made


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(datetime.now(UTC))


@pytest.fixture
def layers(folder: Path, wheels: Path, target: Target, clock: FrozenClock) -> Layers:
    return Layers(Shelf.open(folder / "layers"), Source(wheels), target, clock=clock)
