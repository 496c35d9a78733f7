"""A whole Atom, and clients of its OpenAI-compatible door that know nothing of Atom."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from sqlalchemy import URL

from atom.llm.ports import ChatModel
from atom.llm.testing import ScriptedModel
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.planted import with_keys


@dataclass(frozen=True, slots=True)
class Door:
    """`openai`: an AsyncOpenAI. Its types know nothing of the fields that Atom adds."""

    atom: RunningAtom
    openai: Any


Open = Callable[..., AbstractAsyncContextManager[Door]]


@pytest.fixture
def door(database: URL, home: Path) -> Open:
    """`async with door(reply, ...) as d`: an Atom with the agent `worker`, and the official client of OpenAI on it."""

    @asynccontextmanager
    async def opened(
        *replies: Any, model: ChatModel | None = None, agent: dict[str, Any] | None = None, **groups: Any
    ) -> AsyncIterator[Door]:
        chosen = model or ScriptedModel(*replies)
        async with running_atom(with_keys(settings_for_tests(home, **groups)), database, chosen) as atom:
            await atom.agent("worker", **(agent or {}))
            async with AsyncOpenAI(base_url=f"{atom.url}/v1", api_key=atom.token, timeout=20) as client:
                yield Door(atom, client)

    return opened
