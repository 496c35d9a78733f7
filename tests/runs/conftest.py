"""A whole Atom with a scripted model, and what these tests need around it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from atom.llm.ports import ChatModel
from atom.llm.testing import ScriptedModel
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.planted import with_keys

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]


@pytest.fixture
def start(database: URL, home: Path) -> Start:
    """`async with start(reply, reply, ..., runs=RunSettings(...)) as atom`: replies, or one ChatModel."""

    @asynccontextmanager
    async def run(*replies: Any, model: ChatModel | None = None, **groups: Any) -> AsyncIterator[RunningAtom]:
        chosen = model or ScriptedModel(*replies)
        async with running_atom(with_keys(settings_for_tests(home, **groups)), database, chosen) as atom:
            yield atom

    return run
