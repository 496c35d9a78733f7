"""Building layers, and finding those that were built. Runs find; only the build step installs."""

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import structlog
from packaging.requirements import Requirement
from packaging.utils import NormalizedName

from atom.errors import InvalidError
from atom.kit.clock import Clock, SystemClock
from atom.settings import SandboxSettings
from atom.skills.errors import shown
from atom.skills.layers import pip, shelf
from atom.skills.layers.closure import applying, closure, contradicting
from atom.skills.layers.errors import (
    BuildFailedError,
    LayerTooLargeError,
    NoSourceError,
    UnresolvedError,
    WheelRefusedError,
)
from atom.skills.layers.models import Layer, Target, Wanted, key_of
from atom.skills.layers.pip import Bounds, Source
from atom.skills.layers.shelf import Shelf
from atom.skills.layers.target import target_of
from atom.skills.layers.wheels import FEW, Wheel, files_of, read_wheel
from atom.skills.sandbox.languages import find as find_interpreters
from atom.skills.sandbox.models import Language

log = structlog.get_logger(__name__)

WAITS = 2  # whole builds, until somebody else's is given up on
ROUNDS = 32  # of asking for what packages need: as deep as a tree of them may be
SHORTEST_USE = timedelta(days=2)  # an execution may take a day


class Stage(StrEnum):
    """How far a build is."""

    RESOLVING = "resolving"
    UNPACKING = "unpacking"
    PUBLISHING = "publishing"
    RECORDING = "recording"


Tell = Callable[[Stage], None]


def _silent(_: Stage) -> None:
    return


@dataclass(frozen=True, slots=True)
class Layers:
    """Layers of one home for one Python. `tell` hears how far a build is."""

    shelf: Shelf
    source: Source
    target: Target
    bounds: Bounds = field(default_factory=Bounds)
    clock: Clock = field(default_factory=SystemClock)
    tell: Tell = _silent

    async def find(self, wanted: Wanted) -> Layer | None:
        """What was built for these requirements; None: nothing, or they want nothing. Never builds."""
        if not wanted:
            return None
        return await asyncio.to_thread(self.shelf.find, key_of(wanted, self.target), self.clock.now())

    async def build(self, wanted: Wanted, *, again: bool = False) -> Layer:
        """The layer for these requirements, built unless it is there and whole. `again`: the source is asked anew.

        Raises NoSourceError, UnresolvedError, WheelRefusedError, LayerTooLargeError, BuildFailedError. A build that
        fails changes nothing. A cancelled one ends what it started.
        """
        key = key_of(wanted, self.target)
        requirements = applying(wanted, self.target)
        try:
            async with self.shelf.holding(key, WAITS * self.bounds.seconds):
                if not again:
                    found = await self.find(wanted)
                    if found is not None and await asyncio.to_thread(self.shelf.is_whole, found):
                        return found
                if requirements:
                    await asyncio.to_thread(_check_source, self.source)
                return await self._build(key, wanted, requirements)
        except TimeoutError as error:
            raise BuildFailedError("Another build of these packages does not end.", hint="Try again later.") from error
        except OSError as error:
            message = f"The layer cannot be written: {error.strerror}."
            raise BuildFailedError(message, hint="Look at the disk of ATOM_HOME.") from error

    async def sweep(self, unused: timedelta, keep: frozenset[str] = frozenset()) -> list[str]:
        """Remove what nobody looked for so long, but nothing of `keep`. The digests that are gone."""
        if unused < SHORTEST_USE:
            raise InvalidError(f"Layers are kept for {SHORTEST_USE.days} days at least: programs may still use them.")
        gone = await asyncio.to_thread(self.shelf.sweep, self.clock.now(), unused, keep)
        if gone:
            log.info("skills.layers_swept", count=len(gone))
        return gone

    async def _build(self, key: str, wanted: Wanted, requirements: list[Requirement]) -> Layer:
        place = self.shelf.staging(key)
        try:
            self.tell(Stage.RESOLVING)
            chosen = await self._resolved(requirements, place)
            _check_hashes(wanted, chosen)
            self.tell(Stage.UNPACKING)
            layer = await asyncio.to_thread(self._unpacked, place, chosen)
            self.tell(Stage.RECORDING)
            await asyncio.to_thread(self.shelf.record, key, layer)
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        log.info("skills.layer_built", digest=layer.digest, packages=len(layer.packages), bytes=layer.size)
        return layer

    async def _resolved(self, requirements: list[Requirement], place: Path) -> list[Wheel]:
        """Round by round: what is needed and not there, or there in a version that does not suit."""
        wheels: dict[NormalizedName, Wheel] = {}
        for turn in range(ROUNDS):
            needed = closure(requirements, wheels, self.target)
            self._check_bounds([wheels[name] for name in needed if name in wheels])
            lacking = [one for name, one in needed.items() if name not in wheels or not one.takes(wheels[name].version)]
            if not lacking:
                return [wheels[name] for name in sorted(needed)]
            folder = place / str(turn)
            folder.mkdir(mode=0o700)
            try:
                lines = sorted(one.line for one in lacking)
                files = await pip.fetch(lines, self.target, self.source, folder, self.bounds)
            except UnresolvedError as error:
                raise contradicting(lacking, error) from error
            fetched = await asyncio.to_thread(self._read, files)
            wheels |= fetched
            strange = [one.name for one in lacking if one.name not in fetched]
            if strange:
                raise UnresolvedError(
                    f"The source has {shown(strange[0])} under another name.", problem="missing",
                    fix="Put a wheel of it into the source.", package=strange[0],
                )  # fmt: skip
        raise UnresolvedError("The packages always need other packages.", problem="conflict", fix="Pin them.")

    def _read(self, files: list[Path]) -> dict[NormalizedName, Wheel]:
        found = [read_wheel(path, self.bounds.size, self.bounds.files) for path in files]
        return {wheel.name: wheel for wheel in found}

    def _check_bounds(self, wheels: list[Wheel]) -> None:
        if sum(len(wheel.files) for wheel in wheels) > self.bounds.files:
            raise LayerTooLargeError(f"more than {self.bounds.files} files")
        if sum(sum(wheel.files.values()) for wheel in wheels) > self.bounds.size:
            raise LayerTooLargeError(f"more than {self.bounds.size} bytes")

    def _unpacked(self, place: Path, chosen: list[Wheel]) -> Layer:
        sizes = _laid_out(chosen)
        folder = place / "files"
        folder.mkdir()
        folder.chmod(shelf.FOLDER)
        left_out = [path for wheel in chosen for path in wheel.left_out]
        for wheel in chosen:  # one at a time in memory
            others = shelf.write(folder, files_of(wheel, self.bounds.size, self.bounds.files))
            left_out += [f"{path} (of {wheel.name})" for path in others]
        digest = shelf.digest_of(folder)
        self.tell(Stage.PUBLISHING)
        return Layer(
            digest=digest,
            folder=self.shelf.publish(folder, digest),
            packages=tuple(wheel.package for wheel in chosen),
            files=len(sizes),
            size=sum(sizes.values()),
            built_at=self.clock.now(),
            left_out=tuple(left_out[:FEW]),
            fresh=True,
        )


async def open_layers(settings: SandboxSettings, home: Path, *, tell: Tell = _silent) -> Layers:
    """For the Python that this machine's sandbox gives to programs. Raises BuildFailedError where there is none, or
    where programs could not reach the layers."""
    python = find_interpreters(as_other=os.geteuid() == 0).get(Language.PYTHON)
    if python is None:
        raise BuildFailedError("The sandbox here has no Python.", hint="`atom skills sandbox probe` shows it.")
    made = Shelf.open(home / "layers")
    closed = made.closed() if os.geteuid() == 0 else None
    if closed is not None:
        message = f"Programs run as users of their own, and {closed} is closed to them."
        raise BuildFailedError(message, hint=f"Let others pass through: chmod o+x {closed}")
    index = settings.index.get_secret_value() if settings.index else ""
    source = Source(settings.wheels.absolute() if settings.wheels else None, index)
    return Layers(made, source, await target_of(python.path), tell=tell)


def _check_source(source: Source) -> None:
    if not source:
        raise NoSourceError
    if source.wheels is not None and not source.wheels.is_dir():
        message = f"ATOM_SANDBOX__WHEELS: {source.wheels} is no folder."
        raise BuildFailedError(message, hint="Make it and put wheels into it, or name another one.")


def _laid_out(wheels: list[Wheel]) -> dict[str, int]:
    """Every file of the layer with its size. Of two that would lie in one place the first package's stays."""
    files: dict[str, int] = {}
    folders: set[str] = set()
    for wheel in wheels:
        for path, size in wheel.files.items():
            above = _above(path)
            if path in folders or not files.keys().isdisjoint(above):
                message = "It is a file in one package and a folder in another."
                raise WheelRefusedError(message, problem="collision", wheel=wheel.path.name, member=path)
            folders |= above
            files.setdefault(path, size)
    return files


def _above(path: str) -> set[str]:
    parts = path.split("/")
    return {"/".join(parts[:end]) for end in range(1, len(parts))}


def _check_hashes(wanted: Wanted, chosen: list[Wheel]) -> None:
    by_name = {wheel.name: wheel for wheel in chosen}
    for one in wanted.requirements:
        wheel = by_name.get(NormalizedName(one.name))
        if one.hashes and wheel is not None and wheel.sha256 not in one.hashes:
            raise WheelRefusedError(
                f"Its hash is none of those that {shown(one.file)}:{one.line} names.",
                problem="hash",
                wheel=wheel.path.name,
            )
