"""pip as the one that chooses wheels and fetches them. It installs nothing: no code of a package ever runs."""

import asyncio
import importlib.util
import os
import re
import signal
import sys
from asyncio.subprocess import Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import atom
from atom.skills.errors import shown
from atom.skills.layers.errors import BuildFailedError, LayerTooLargeError, UnresolvedError
from atom.skills.layers.models import Target
from atom.skills.sandbox.supervisor import folder

SOURCE = str(Path(atom.__file__).resolve().parents[1])
START = f"import sys; sys.path.append({SOURCE!r}); from atom.skills.layers.confined import main; main()"
RUN = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)
KEPT = 200  # lines of what pip said
LINE = 4096
WATCH_SECONDS = 0.25
SDIST = re.compile(r"Skipping link: No sources permitted for [\w.-]+: \S*/([^/\s#]{1,300})")
NOT_FOUND = re.compile(r"No matching distribution found for (.{1,300})")
VERSIONS = re.compile(r"Could not find a version that satisfies the requirement .{1,300} \(from versions: (.*)\)")
OTHER_PYTHON = re.compile(r"requires a different Python|require a different python version", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """Where wheels come from: a folder, or an index. Both empty: nothing is installed."""

    wheels: Path | None = None
    index: str = ""

    def __bool__(self) -> bool:
        return bool(self.wheels or self.index)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one layer. `size` in bytes, unpacked and packed."""

    seconds: float = 300.0
    size: int = 512 * 1024 * 1024
    files: int = 20_000


async def fetch(requirements: list[str], target: Target, source: Source, place: Path, bounds: Bounds) -> list[Path]:
    """Wheels in `place/wheels`, one for each of `requirements`; not what they need. `place` is an empty folder.

    Raises UnresolvedError, BuildFailedError, LayerTooLargeError. A cancelled call ends pip first.
    """
    wheels, temporary = place / "wheels", place / "tmp"
    for made in (wheels, temporary):
        made.mkdir(mode=0o700)
    listed = place / "wanted.txt"  # not on the command line: an index's address may carry a password
    listed.touch(mode=0o600)
    lines = [*([f"-i {source.index}"] if source.wheels is None else ["--no-index"]), *requirements]
    listed.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-I", "-B", "-c", RUN, find_pip(), *arguments(target, source, wheels, listed)]
    process = await _start(command, source, place, bounds)
    try:
        async with asyncio.timeout(bounds.seconds):
            said = await _watched(process, place, bounds)
    except TimeoutError as error:
        message = f"The packages were not there within {bounds.seconds:g} seconds."
        raise BuildFailedError(message, hint="Try again, or look at the source.") from error
    finally:
        await _end(process)
    if process.returncode != 0:
        raise failure(said)
    return sorted(wheels.iterdir())


def arguments(target: Target, source: Source, wheels: Path, listed: Path) -> list[str]:
    """Everything is said for the target: pip may run on another Python."""
    line = ["download", "-vv", "--no-deps", "--isolated", "--disable-pip-version-check", "--no-cache-dir", "--no-input"]
    line += ["--progress-bar", "off", "--only-binary", ":all:", "--dest", str(wheels), "--implementation", "cp"]
    line += ["--python-version", target.version, "--abi", target.tag]
    for platform in target.platforms:
        line += ["--platform", platform]
    if source.wheels is not None:
        line += ["--no-index", "-f", str(source.wheels)]
    return [*line, "--requirement", str(listed)]


def find_pip() -> str:
    """The folder or file to import it from: installed beside Atom, else what Python itself brings for new
    environments. Raises BuildFailedError."""
    package = importlib.util.find_spec("pip")
    if package is not None and package.origin:
        return str(Path(package.origin).parents[1])
    bundled = importlib.util.find_spec("ensurepip")
    for origin in [bundled.origin] if bundled and bundled.origin else []:
        for path in sorted((Path(origin).parent / "_bundled").glob("pip-*.whl")):
            return str(path)
    raise BuildFailedError("There is no pip beside Atom.", hint="Install it there: python -m ensurepip, or pip.")


def failure(said: list[str]) -> UnresolvedError | BuildFailedError:
    """What pip's words mean."""
    text = "\n".join(said)
    missing, versions = NOT_FOUND.search(text), VERSIONS.search(text)
    if missing is None:
        hint = "Look at the source: what pip said is in `said`."
        return BuildFailedError("pip could not fetch the packages.", hint=hint, said="\n".join(said[-5:]))
    package = missing[1].strip()
    name = re.match(r"[\w.-]+", package)
    if name is not None and any(_is_source(file, name[0]) for file in SDIST.findall(text)):
        return UnresolvedError(
            f"The source has {shown(package)} only as source code, which would have to run to be installed.",
            problem="sdist_only", fix="Put a wheel of it into the source (pip wheel).", package=package,
        )  # fmt: skip
    if OTHER_PYTHON.search(text):
        message = f"The source has {shown(package)} only for another Python."
        return UnresolvedError(message, problem="python", fix="Ask for another version of it.", package=package)
    if versions is not None and versions[1] not in {"none", ""}:
        message = f"The source has no such version of {shown(package)}, but {shown(versions[1])}."
        return UnresolvedError(message, problem="version", fix="Ask for one of them.", package=package)
    message = f"The source has no wheel of {shown(package)} for the sandbox's Python."
    return UnresolvedError(message, problem="missing", fix="Put a wheel of it into the source.", package=package)


async def _start(command: list[str], source: Source, place: Path, bounds: Bounds) -> Process:
    readable = [sys.prefix, sys.base_prefix, find_pip(), str(source.wheels or "")]
    network = "offline" if source.wheels is not None else "online"
    return await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-B", "-c", START,
        str(os.getpid()), network, str(bounds.size), str(int(bounds.seconds)), str(place), "\n".join(readable),
        *command,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=LINE,
        env={"LANG": "C.UTF-8", "HOME": str(place), "TMPDIR": str(place / "tmp"), "PIP_CONFIG_FILE": os.devnull},
        cwd=place, start_new_session=True,
    )  # fmt: skip


async def _watched(process: Process, place: Path, bounds: Bounds) -> list[str]:
    """What it said, once it has ended."""
    talking = asyncio.ensure_future(_said(process))
    try:
        while not (await asyncio.wait({talking}, timeout=WATCH_SECONDS))[0]:
            size, _ = await asyncio.to_thread(folder.size, str(place))
            if size > 2 * bounds.size:  # pip holds a file twice while it keeps it
                raise LayerTooLargeError(f"more than {bounds.size} bytes")
        await process.wait()
        return talking.result()
    finally:
        talking.cancel()


async def _said(process: Process) -> list[str]:
    """The last lines, and every one that tells of a package that is there as source code only."""
    last: list[str] = []
    kept: dict[str, None] = {}
    while process.stdout is not None:
        try:
            line = (await process.stdout.readline()).decode("utf-8", "replace")
        except ValueError:
            continue  # longer than a line may be: it is dropped
        if not line:
            break
        found = SDIST.search(line)
        if found is not None and len(kept) < KEPT:
            kept[found[0]] = None
        last = [*last[1 - KEPT :], line.rstrip()[:LINE]]
    return [*kept, *last]


async def _end(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _is_source(file: str, name: str) -> bool:
    """pip says it of every archive that it looks at, whatever it looks for."""
    return _plain(file).startswith(f"{_plain(name)}-")


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
