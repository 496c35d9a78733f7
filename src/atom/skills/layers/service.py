"""Building layers, and finding those that were built. Runs find; only the build step installs."""

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
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
from atom.skills.bundle.models import Member
from atom.skills.errors import shown
from atom.skills.layers import pip, shelf
from atom.skills.layers.closure import Closure, applying, closure
from atom.skills.layers.errors import (
    BuildFailedError,
    LayerTooLargeError,
    NoSourceError,
    UnresolvedError,
    WheelRefusedError,
)
from atom.skills.layers.models import Layer, Target, Wanted, canonical, key_of
from atom.skills.layers.pip import Bounds, Source
from atom.skills.layers.shelf import Shelf
from atom.skills.layers.target import target_of
from atom.skills.layers.wheels import FEW, Wheel, read_wheel
from atom.skills.sandbox.languages import find as find_interpreters
from atom.skills.sandbox.models import Language

log = structlog.get_logger(__name__)

WAITS = 2  # whole builds, until somebody else's is given up on
ROUNDS = 8  # of asking for what only the target's Python needs
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
                if requirements and not self.source:
                    raise NoSourceError
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

    async def _resolved(self, requirements: list[Requirement], place: Path) -> Closure:
        lines = sorted(map(_line, requirements))
        for turn in range(ROUNDS if requirements else 0):
            folder = place / str(turn)
            folder.mkdir(mode=0o700)
            files = await pip.fetch(lines, self.target, self.source, folder, self.bounds)
            wheels = await asyncio.to_thread(self._read, files)
            found = closure(requirements, wheels, self.target)
            if not found.missing:
                return found
            lines = [*lines, *found.missing]
        if requirements:
            raise UnresolvedError("The packages always need more packages.", problem="conflict", fix="Pin them.")
        return Closure((), ())

    def _read(self, files: list[Path]) -> Mapping[NormalizedName, Wheel]:
        wheels: dict[NormalizedName, Wheel] = {}
        left = self.bounds.size
        for path in files:
            wheel = read_wheel(path, left, self.bounds.files)
            left -= sum(len(member.data) for member in wheel.files.values())
            if wheel.name in wheels:
                raise WheelRefusedError("There are two of this package.", problem="duplicate_name", wheel=path.name)
            wheels[wheel.name] = wheel
        return wheels

    def _unpacked(self, place: Path, chosen: Closure) -> Layer:
        files, left_out = merged(chosen.wheels)
        if len(files) > self.bounds.files:
            raise LayerTooLargeError(f"more than {self.bounds.files} files")
        folder = place / "files"
        folder.mkdir()
        folder.chmod(shelf.FOLDER)
        shelf.write(folder, files)
        digest = shelf.digest_of(folder)
        self.tell(Stage.PUBLISHING)
        return Layer(
            digest=digest,
            folder=self.shelf.publish(folder, digest),
            packages=tuple(wheel.package for wheel in chosen.wheels),
            files=len(files),
            size=sum(len(member.data) for member in files.values()),
            built_at=self.clock.now(),
            left_out=tuple(left_out[:FEW]),
            fresh=True,
        )


async def open_layers(settings: SandboxSettings, home: Path, *, tell: Tell = _silent) -> Layers:
    """For the Python that this machine's sandbox gives to programs. Raises BuildFailedError where there is none."""
    python = find_interpreters(as_other=os.geteuid() == 0).get(Language.PYTHON)
    if python is None:
        raise BuildFailedError("The sandbox here has no Python.", hint="`atom skills sandbox probe` shows it.")
    index = settings.index.get_secret_value() if settings.index else ""
    source = Source(settings.wheels, index)
    return Layers(Shelf.open(home / "layers"), source, await target_of(python.path), tell=tell)


def merged(wheels: tuple[Wheel, ...]) -> tuple[dict[str, Member], list[str]]:
    """All files of a layer, and what was left out. Of two that would lie in one place the first package's stays."""
    files: dict[str, Member] = {}
    folders: set[str] = set()
    left_out = [path for wheel in wheels for path in wheel.left_out]
    for wheel in wheels:
        for path, member in wheel.files.items():
            above = _above(path)
            if path in folders or not files.keys().isdisjoint(above):
                message = "It is a file in one package and a folder in another."
                raise WheelRefusedError(message, problem="collision", wheel=wheel.file, member=path)
            folders |= above
            there = files.setdefault(path, member)
            if there.data != member.data:
                left_out.append(f"{path} (of {wheel.name})")
    return files, left_out


def _above(path: str) -> set[str]:
    parts = path.split("/")
    return {"/".join(parts[:end]) for end in range(1, len(parts))}


def _line(requirement: Requirement) -> str:
    """Without its marker, which was judged for the target."""
    bare = Requirement(str(requirement))
    bare.marker = None
    return canonical(bare)


def _check_hashes(wanted: Wanted, chosen: Closure) -> None:
    by_name = {wheel.name: wheel for wheel in chosen.wheels}
    for one in wanted.requirements:
        wheel = by_name.get(NormalizedName(one.name))
        if one.hashes and wheel is not None and wheel.sha256 not in one.hashes:
            raise WheelRefusedError(
                f"Its hash is none of those that {shown(one.file)}:{one.line} names.", problem="hash", wheel=wheel.file
            )
