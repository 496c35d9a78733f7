"""Whether a key is good: the provider is asked for its list of models."""

import asyncio
from dataclasses import dataclass

from atom.errors import AtomError
from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import Clock
from atom.llm.directory import DatabaseDirectory, info_of
from atom.llm.errors import ModelAuthError
from atom.llm.keys.service import KeyService
from atom.llm.ports import ListsModels
from atom.llm.service import OpenModels

PROBE_SECONDS = 20.0
MAX_MODELS = 500


@dataclass(frozen=True, slots=True)
class Probed:
    ok: bool
    seconds: float
    models: list[str]
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class KeyTester:
    keys: KeyService
    models: OpenModels
    directory: DatabaseDirectory
    sessions: Sessions
    clock: Clock

    async def test(self, ref: str) -> Probed:
        """Raises KeyNotFoundError. What the provider says of the key is in the answer, not an error."""
        async with unit_of_work(self.sessions) as session:
            row = await self.keys.get(session, ref)
        info, began = info_of(row), self.clock.monotonic()
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                model = await self.models.get(info)
                listed = await model.models() if isinstance(model, ListsModels) else []
        except TimeoutError:
            seconds = self.clock.monotonic() - began
            return Probed(False, seconds, [], "llm_timeout", f"{info.provider} did not answer in {PROBE_SECONDS:g} s.")
        except ModelAuthError as error:
            await self.directory.refused(info, error.message)
            return Probed(False, self.clock.monotonic() - began, [], error.code, error.message)
        except AtomError as error:
            return Probed(False, self.clock.monotonic() - began, [], error.code, str(error))
        async with unit_of_work(self.sessions) as session:
            await self.keys.accepted(session, row)
        return Probed(True, self.clock.monotonic() - began, listed[:MAX_MODELS])
