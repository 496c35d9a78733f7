"""The interpreters of this machine that a program in the sandbox can reach."""

import os
import shutil
import stat
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from atom.skills.sandbox.models import Language

PATH = "/usr/local/bin:/usr/bin:/bin"
SYSTEM = Path("/usr")
# Isolated, without site: nothing that lies beside the program or in a variable runs before it.
OPTIONS: Mapping[Language, tuple[str, ...]] = {
    Language.PYTHON: ("-I", "-S", "-B", "-X", "utf8"),
    Language.BASH: ("--noprofile", "--norc"),
    Language.NODE: (),
}


# What `python ./entry` does, with more on the path, behind the standard library: modules beside the entry, then layers
# (from PYTHONPATH, which Python itself does not read here). This frame is not in tracebacks.
LAUNCH = """
import posix, sys
entry = sys.argv.pop(1)
sys.argv[0] = entry
__file__, __cached__ = posix.getcwd() + "/" + entry, None
sys.path.append((posix.getcwd() + entry[1:]).rpartition("/")[0])
sys.path += filter(None, posix.environ.get(b"PYTHONPATH", b"").decode().split(":"))
def without(hook):
    return lambda kind, error, trace: hook(kind, error.with_traceback(trace.tb_next), trace.tb_next)
sys.excepthook = without(sys.__excepthook__)
with open(entry, "rb", 0) as source:
    source = compile(source.read(), __file__, "exec", dont_inherit=True)
del posix, sys, entry, without
exec(globals().pop("source"))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """`options` come before the program's file. `read` is what it needs besides the system's own folders. `launch`
    runs a program that may import more than the standard library."""

    path: str
    options: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    launch: str = ""

    def command(self, entry: str, *, imports: bool = False) -> list[str]:
        start = ["-c", self.launch] if imports and self.launch else []
        return [self.path, *self.options, *start, f"./{entry}"]


def imports(entry: str, files: Collection[str], layers: Collection[str]) -> bool:
    """Whether a Python program has anything to import but the standard library: modules beside it, or layers."""
    beside = entry.rpartition("/")[0]
    return bool(layers) or any(
        name != entry and name.endswith(".py") and (not beside or name.startswith(f"{beside}/")) for name in files
    )


def find(*, as_other: bool) -> Mapping[Language, Interpreter]:
    """By language. `as_other`: the program runs as a user without any right of its own on files."""
    found = {Language.PYTHON: _python(as_other=as_other), Language.BASH: _bash(), Language.NODE: _node()}
    return {language: interpreter for language, interpreter in found.items() if interpreter is not None}


def _python(*, as_other: bool) -> Interpreter | None:
    own = Path(sys.executable).resolve()
    for path in (own, *map(Path, (f"{folder}/python3" for folder in PATH.split(":")))):
        if path.exists() and reachable(path.resolve(), as_other=as_other):
            real = path.resolve()
            read = () if real.is_relative_to(SYSTEM) else (str(real.parent.parent),)
            return Interpreter(str(real), OPTIONS[Language.PYTHON], read, LAUNCH)
    return None


def _bash() -> Interpreter | None:
    path = shutil.which("bash", path=PATH)
    return Interpreter(path, OPTIONS[Language.BASH]) if path else None


def _node() -> Interpreter | None:
    path = shutil.which("node", path=PATH)
    real = Path(path).resolve() if path else None
    return Interpreter(str(real)) if real and real.is_relative_to(SYSTEM) else None


def reachable(path: Path, *, as_other: bool) -> bool:
    """Whether such a user can go there and execute it."""
    if not as_other:
        return os.access(path, os.R_OK | os.X_OK)
    folders = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
    return folders and path.stat().st_mode & 0o005 == 0o005
