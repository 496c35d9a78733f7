"""Containers that were started before anybody asked, each for one execution."""

import asyncio
import secrets
from asyncio import Task
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field

import structlog

from atom.skills.sandbox.adapters.docker.container import Container, Maker, Shape
from atom.skills.sandbox.adapters.docker.engine import EngineError

log = structlog.get_logger(__name__)

MOST_AGE = 600.0  # seconds a container may wait; the supervisor inside gives up later
LOOK_SECONDS = 5.0
REST_SECONDS = 0.3  # whoever was just given a container gets the processors first
AT_ONCE = 2  # containers that are being started: an engine that starts many is slow for all


@dataclass(slots=True)
class Waiting:
    container: Container
    since: float


@dataclass(slots=True)
class Pool:
    """At most `size` wait, all of `shape`. Started by `start`, ended by `close`; belongs to one event loop."""

    maker: Maker
    shape: Shape
    size: int
    most_age: float = MOST_AGE
    look_seconds: float = LOOK_SECONDS
    ready: deque[Waiting] = field(default_factory=deque)
    tasks: set["Task[None]"] = field(default_factory=set)
    making: int = 0
    keeper: "Task[None] | None" = None
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def start(self) -> None:
        """It fills by itself from now on."""
        if self.size and self.keeper is None:
            self.keeper = asyncio.create_task(self._keep())

    def take(self, shape: Shape) -> Container | None:
        """One that has just that shape and is alive, or None; it is the caller's then."""
        if shape != self.shape:
            return None
        while self.ready:
            found = self.ready.popleft()
            if self._is_good(found):
                self._run(self._fill(after=REST_SECONDS))
                return found.container
            self.discard(found.container)
        return None

    async def fresh(self, shape: Shape, name: str) -> Container:
        """Started for this caller. Raises EngineError."""
        async with self.turns:
            return await self.maker.make(shape, name)

    def discard(self, container: Container) -> "Task[None]":
        """Remove it, meanwhile or when the task is awaited."""
        return self._run(self._remove(container))

    async def settled(self) -> None:
        """Wait until every removal and start under way is done."""
        while self.tasks:
            await asyncio.wait(set(self.tasks))

    async def close(self) -> None:
        """Nothing waits any more, and nothing is left."""
        keeper, self.keeper = self.keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        await self.settled()
        while self.ready:
            self.discard(self.ready.popleft().container)
        await self.settled()

    async def _keep(self) -> None:
        while True:
            for found in [found for found in self.ready if not self._is_good(found)]:
                self.ready.remove(found)
                self.discard(found.container)
            while len(self.ready) + self.making < self.size:
                self._run(self._fill())
                await asyncio.sleep(0)  # it counts itself first
            await asyncio.sleep(self.look_seconds)

    async def _fill(self, *, after: float = 0.0) -> None:
        if self.keeper is None or len(self.ready) + self.making >= self.size:
            return
        self.making += 1
        try:
            await asyncio.sleep(after)
            container = await self.fresh(self.shape, f"ready-{secrets.token_hex(8)}")
            self.ready.append(Waiting(container, asyncio.get_running_loop().time()))
        except EngineError as error:
            log.warning("sandbox.pool_not_filled", detail=str(error), backend="docker")
        finally:
            self.making -= 1

    def _is_good(self, found: Waiting) -> bool:
        age = asyncio.get_running_loop().time() - found.since
        return age < self.most_age and not found.container.attached.ended

    async def _remove(self, container: Container) -> None:
        try:
            await container.remove()
        except EngineError as error:
            log.warning("sandbox.container_left", container=container.id[:12], detail=str(error), backend="docker")

    def _run(self, work: Coroutine[None, None, None]) -> "Task[None]":
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task
