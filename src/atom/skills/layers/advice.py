"""What the end of a program's error output means, and what to do. Pure; what a program printed is a stranger's text."""

import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from packaging.utils import canonicalize_name

from atom.skills.errors import shown
from atom.skills.layers.models import Layer, Wanted
from atom.skills.sandbox.models import Language

READ = 16 * 1024  # bytes of the end that are looked at
SHOWN = 200
NOT_FOUND = 127

PYTHON = re.compile(rb"^(?:\w+\.)*(ModuleNotFoundError|ImportError|SyntaxError|IndentationError|TabError): (.*)$", re.M)
NO_MODULE = re.compile(r"No module named '([^']{1,300})'")
PYTHON_PLACE = re.compile(rb'^\s+File "([^"\n]{1,1000})", line (\d{1,9})', re.M)
NODE_MODULE = re.compile(rb"^Error(?: \[\w+\])?: Cannot find (?:module|package) '([^'\n]{1,1000})'", re.M)
NODE_SYNTAX = re.compile(rb"^SyntaxError: (.*)$", re.M)
NODE_PLACE = re.compile(rb"^(?:file://)?(/[^\n:]{1,1000}):(\d{1,9})$", re.M)
BASH_SYNTAX = re.compile(rb"^([^\n:]{1,1000}): line (\d{1,9}): (syntax error.*|unexpected EOF.*)$", re.M)
BASH_MISSING = re.compile(
    rb"^[^\n]{0,1000}?: line \d{1,9}: ([^\n]{1,300}?): (?:command not found|No such file or directory)$", re.M
)

# Modules whose package has another name. Whoever is not in here is taken for one that has the same.
PACKAGES: Mapping[str, str] = MappingProxyType({
    "attr": "attrs", "bs4": "beautifulsoup4", "Crypto": "pycryptodome", "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil", "docx": "python-docx", "dotenv": "python-dotenv", "fitz": "pymupdf",
    "git": "gitpython", "jwt": "pyjwt", "magic": "python-magic", "OpenSSL": "pyopenssl", "PIL": "pillow",
    "pptx": "python-pptx", "pkg_resources": "setuptools", "serial": "pyserial", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "yaml": "pyyaml", "zmq": "pyzmq",
})  # fmt: skip


class Trouble(StrEnum):
    """Codes of an execution's error."""

    MODULE_NOT_FOUND = "module_not_found"
    IMPORT_ERROR = "import_error"
    SYNTAX_ERROR = "syntax_error"
    MISSING_COMMAND = "missing_command"


@dataclass(frozen=True, slots=True)
class Advice:
    """`message` says what is wrong, `fix` what to do. Both are safe to show."""

    code: Trouble
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Program:
    """What ended: `files` are the paths of its bundle; `layer` is what it could import from."""

    skill: str
    language: Language
    files: Collection[str] = ()
    wanted: Wanted = field(default_factory=Wanted)
    layer: Layer | None = None


def advise(program: Program, exit_code: int | None, errors: bytes) -> Advice | None:
    """None: it is none of the troubles that are known. `errors` is what it wrote to its error output."""
    end = errors[-READ:]
    if program.language is Language.PYTHON:
        return _python(program, end)
    if program.language is Language.NODE:
        return _node(program, end)
    return _bash(program, exit_code, end)


def _python(program: Program, end: bytes) -> Advice | None:
    """By the last of the lines that name an exception."""
    found = [*PYTHON.finditer(end)]
    if not found or b"\n" in end[found[-1].end() :].strip(b"\n"):
        return None
    kind, said = found[-1][1].decode(), _text(found[-1][2])
    module = NO_MODULE.search(said)
    if kind == "ModuleNotFoundError" and module is not None:
        return _module(program, module[1])
    if kind in {"ImportError", "ModuleNotFoundError"}:
        fix = "The module is there, but not what is taken from it: ask for the version of its package that has it."
        return Advice(Trouble.IMPORT_ERROR, f"An import failed: {said}", fix)
    return _syntax(said, [*PYTHON_PLACE.finditer(end[: found[-1].start()])])


def _module(program: Program, name: str) -> Advice:
    top = name.partition(".")[0]
    message = f"There is no module {shown(name, SHOWN)!r}."
    return Advice(Trouble.MODULE_NOT_FOUND, message, _module_fix(program, top))


def _module_fix(program: Program, top: str) -> str:
    build = f"`atom skills build {shown(program.skill)}`"
    if top in sys.stdlib_module_names:
        return (
            "It belongs to Python itself, and the sandbox's Python comes without it: do without, or install it there."
        )
    beside = next((path for path in program.files if path.endswith((f"{top}.py", f"{top}/__init__.py"))), None)
    if beside is not None:
        return f"{shown(beside)} is not beside the program that was started: only modules beside it can be imported."
    brought = next((one.text for one in program.wanted.requirements if one.name in _packages(top)), None)
    if brought is None:
        package = shown(_packages(top)[0])
        return f"Declare {package} in `# /// script` dependencies or in requirements.txt, then {build}."
    if program.layer is None:
        return f"{shown(brought)} is declared, but not installed: {build}."
    return f"{shown(brought)} is installed, and has no such module: declare the package that has, then {build}."


def _packages(module: str) -> Sequence[str]:
    """Names that its package may have, the likeliest first."""
    return [canonicalize_name(one) for one in (PACKAGES.get(module, module), module, f"python-{module}", f"py{module}")]


def _node(program: Program, end: bytes) -> Advice | None:
    module = NODE_MODULE.search(end)
    if module is not None:
        name = _text(module[1])
        if name.startswith((".", "/", "file:")):
            fix = "Correct the path, or put the file into the skill."
        else:
            fix = f"Packages are installed for Python only: put {shown(name)} into the skill as files."
        return Advice(Trouble.MODULE_NOT_FOUND, f"There is no module {name!r}.", fix)
    syntax = NODE_SYNTAX.search(end)
    if syntax is None:
        return None
    return _syntax(_text(syntax[1]), [*NODE_PLACE.finditer(end[: syntax.start()])])


def _bash(program: Program, exit_code: int | None, end: bytes) -> Advice | None:
    syntax = BASH_SYNTAX.search(end)
    if syntax is not None:
        return _syntax(_text(syntax[3]), [syntax])
    if exit_code != NOT_FOUND:
        return _python(program, end)  # of one that it started
    missing = BASH_MISSING.search(end)
    name = f" {_text(missing[1])!r}" if missing is not None else ""
    fix = "The sandbox has the machine's /usr/bin and /bin: do without it, or let the operator install it there."
    return Advice(Trouble.MISSING_COMMAND, f"There is no command{name}.", fix)


def _syntax(said: str, places: "Sequence[re.Match[bytes]]") -> Advice:
    where = ""
    if places:
        name = _text(places[-1][1]).rpartition("/")[2]
        where = f" in {name}, line {int(places[-1][2])}"
    return Advice(
        Trouble.SYNTAX_ERROR, f"It cannot be read{where}: {said}", "Correct it; `atom skills validate` checks it."
    )


def _text(raw: bytes) -> str:
    return shown(raw.decode("utf-8", "replace").strip(), SHOWN)
