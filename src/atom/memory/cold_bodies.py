"""The texts of episodes wherever they lie, with no transaction open while the cold store is asked."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from atom.errors import AtomError
from atom.infra.db import Sessions, unit_of_work
from atom.memory import archive_store
from atom.memory.archive_store import ColdPlace, Lying
from atom.memory.bodies import unpack
from atom.memory.errors import BodyCorruptError, ColdStoreUnavailableError
from atom.memory.ports import ColdStore
from atom.memory.sealing import unseal

ROUNDS = 4  # a body may move between being looked for and being fetched; one that moves each time is let be
AT_ONCE = 8
Texts = list[str]


@dataclass(frozen=True, slots=True)
class Bodies:
    """Reads of many, in parallel. `room`: for all who share this."""

    sessions: Sessions
    cold: ColdStore
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def texts_of(self, ids: Sequence[UUID], *, seconds: float | None = None) -> Mapping[UUID, Texts | AtomError]:
        """The texts of each episode by position, or why they are not to be had: the cold store is away or slow, an
        object is missing, a body is damaged. Those that do not exist are left out. `seconds`: for the cold store.
        """
        found: dict[UUID, Texts | AtomError] = {}
        tried: dict[UUID, ColdPlace] = {}
        wanted = list(dict.fromkeys(ids))
        for _ in range(ROUNDS):
            if not wanted:
                break
            async with unit_of_work(self.sessions) as session:
                lying = await archive_store.lying(session, wanted)
            found |= {id_: _near(one) for id_, one in lying.items() if one.cold is None}
            places = {id_: one.cold for id_, one in lying.items() if one.cold is not None}
            moved = {id_: place for id_, place in places.items() if tried.get(id_) != place}
            fetched = await self._fetch(moved, seconds)
            found |= fetched
            tried |= moved
            wanted = [id_ for id_, got in fetched.items() if isinstance(got, AtomError) and not _final(got)]
        return found

    async def read(self, id_: UUID, place: ColdPlace) -> Texts:
        """Raises ColdStoreUnavailableError, ColdObjectMissingError, BodyCorruptError."""
        async with self.room:
            stored = await self.cold.read(place.path, place.start, place.size)
        return await asyncio.to_thread(opened, id_, place, stored)

    async def _fetch(self, places: Mapping[UUID, ColdPlace], seconds: float | None) -> dict[UUID, Texts | AtomError]:
        if not places:
            return {}
        tasks = {id_: asyncio.create_task(self._one(id_, place)) for id_, place in places.items()}
        try:
            await asyncio.wait(tasks.values(), timeout=seconds)
            late = ColdStoreUnavailableError(self.cold.place, "it took too long")
            return {id_: task.result() if task.done() else late for id_, task in tasks.items()}
        finally:
            for task in tasks.values():
                task.cancel()

    async def _one(self, id_: UUID, place: ColdPlace) -> Texts | AtomError:
        try:
            return await self.read(id_, place)
        except AtomError as error:
            return error


def opened(id_: UUID, place: ColdPlace, stored: bytes) -> Texts:
    """The texts in bytes of the cold store. Raises BodyCorruptError."""
    return unpack(unseal(id_, place.sealed(stored), sha256=place.sha256, unpacked=place.unpacked))


def _near(one: Lying) -> Texts | AtomError:
    if one.warm is None:
        return one.texts or []
    try:
        return unpack(one.warm)
    except BodyCorruptError as error:
        return error


def _final(error: AtomError) -> bool:
    """Whether it would be the same at another place."""
    return isinstance(error, ColdStoreUnavailableError)
