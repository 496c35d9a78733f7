"""Names of packages: which a bundle asks for, and which only look like one that everybody knows."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

LOOKED_AT = 700  # names that are worth imitating
SHORTEST = 5  # below, every other name is a letter away
LONGEST = 100
MOST = 500  # of a file
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SEPARATORS = re.compile(r"[-_.]+")
BLOCK = re.compile(r"^# /// script[ \t]*\n((?:#.*\n)*?)# ///[ \t]*$", re.MULTILINE)
ALIKE = str.maketrans("01358", "olebb")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-"
PYTHON, NODE = "pypi", "npm"
DISTRIBUTIONS: Mapping[str, str] = {  # whose modules are called otherwise
    "yaml": "pyyaml", "PIL": "pillow", "cv2": "opencv-python", "bs4": "beautifulsoup4", "sklearn": "scikit-learn",
    "dotenv": "python-dotenv", "dateutil": "python-dateutil",
    "docx": "python-docx", "pptx": "python-pptx", "fitz": "pymupdf", "google": "google-api-python-client",
    "googleapiclient": "google-api-python-client", "jwt": "pyjwt",
    "Crypto": "pycryptodome", "OpenSSL": "pyopenssl", "serial": "pyserial", "usb": "pyusb", "git": "gitpython",
    "telegram": "python-telegram-bot", "nacl": "pynacl",
    "attr": "attrs", "MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary", "skimage": "scikit-image",
    "slugify": "python-slugify", "magic": "python-magic",
    "zmq": "pyzmq", "gi": "pygobject", "win32api": "pywin32", "pkg_resources": "setuptools", "ruamel": "ruamel-yaml",
    "jose": "python-jose", "multipart": "python-multipart",
    "socks": "pysocks", "markdown_it": "markdown-it-py", "websocket": "websocket-client", "faiss": "faiss-cpu",
    "kafka": "kafka-python", "ldap": "python-ldap",
    "speech_recognition": "speechrecognition", "whisper": "openai-whisper", "discord": "discord-py",
    "mpl_toolkits": "matplotlib", "pylab": "matplotlib", "Xlib": "python-xlib",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """A package that a file asks for. `offset` counts characters of the file."""

    system: str
    name: str
    offset: int


def of_import(module: str) -> str:
    return f"{PYTHON}:{normal(DISTRIBUTIONS.get(module, module))}"


def normal(name: str) -> str:
    return SEPARATORS.sub("-", name).lower().strip("-")


def bare(requirement: str, system: str) -> str:
    """The name in `requests[socks]>=2; python_version > "3"` and `@scope/name@1.2`; empty when it is none."""
    said = requirement.strip().strip("'\"")
    if system == NODE:
        scope, _, rest = said.rpartition("/") if said.startswith("@") else ("", "", said)
        name = rest.partition("@")[0].lower()
        said = f"{scope.lower()}/{name}" if scope else name
        return (
            said
            if re.fullmatch(r"(@[\w.~-]+/)?[\w.~-]+", said) and not said.startswith((".", "~")) and len(said) <= LONGEST
            else ""
        )
    match = NAME.match(said)
    rest = said[match.end() :].lstrip() if match else ""
    return normal(match[0]) if match and len(match[0]) <= LONGEST and (not rest or rest[0] in "[<>=!~;,@( ") else ""


def wanted(path: str, text: str) -> Iterator[Wanted]:
    """Of files that list what is to be installed."""
    name = path.rpartition("/")[2].lower()
    if re.fullmatch(r"(requirements|constraints)[\w.-]*\.(txt|in)", name):
        yield from _lines(text)
    elif name == "package.json":
        yield from _package_json(text)
    elif name == "pyproject.toml":
        yield from _pyproject(text)
    elif name.endswith(".py"):
        yield from _block(text)


def _lines(text: str) -> Iterator[Wanted]:
    offset = 0
    for line in text.split("\n")[:MOST]:
        said = line.split("#")[0].strip()
        if said and not said.startswith("-") and (found := bare(said, PYTHON)):
            yield Wanted(PYTHON, found, offset)
        offset += len(line) + 1


def _package_json(text: str) -> Iterator[Wanted]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return
    for key in (
        ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
        if isinstance(read, dict)
        else ()
    ):
        for name in list(read[key])[:MOST] if isinstance(read.get(key), dict) else ():
            if found := bare(str(name), NODE):
                yield Wanted(NODE, found, max(text.find(json.dumps(name)), 0))


def _pyproject(text: str) -> Iterator[Wanted]:
    try:
        read = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    project = read.get("project")
    yield from _listed(project.get("dependencies") if isinstance(project, dict) else None, text)


def _block(text: str) -> Iterator[Wanted]:
    """PEP 723."""
    match = BLOCK.search(text)
    if match is None:
        return
    inner = "\n".join(line[1:].removeprefix(" ") for line in match[1].split("\n"))
    try:
        yield from _listed(tomllib.loads(inner).get("dependencies"), text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return


def _listed(names: object, text: str) -> Iterator[Wanted]:
    for one in names[:MOST] if isinstance(names, list) else ():
        if isinstance(one, str) and (found := bare(one, PYTHON)):
            yield Wanted(PYTHON, found, max(text.find(one), 0))


def imitated(system: str, name: str) -> str | None:
    """The well-known name that `name` looks like without being well known itself."""
    known, worth = _names(system)
    plain = name.rpartition("/")[2] if name.startswith("@") else name
    if len(plain) < SHORTEST or name in known or (name.startswith("@") and name.partition("/")[0] in _scopes()):
        return None
    if name.startswith("@"):
        return None  # a scope belongs to somebody
    squeezed = plain.replace("-", "").translate(ALIKE).replace("rn", "m").replace("vv", "w")
    found = _squeezed(system).get(squeezed)
    if found is not None and found != plain:
        return found
    return next((one for one in sorted(_near(plain)) if one in worth), None)


def _near(name: str) -> set[str]:
    """Every name that is one letter away: left out, doubled, changed or exchanged with the next."""
    splits = [(name[:n], name[n:]) for n in range(len(name) + 1)]
    left_out = {a + b[1:] for a, b in splits if b}
    changed = {a + c + b[1:] for a, b in splits if b for c in LETTERS}
    added = {a + c + b for a, b in splits for c in LETTERS}
    swapped = {a + b[1] + b[0] + b[2:] for a, b in splits if len(b) > 1}
    return (left_out | changed | added | swapped) - {name}


@cache
def _names(system: str) -> tuple[frozenset[str], frozenset[str]]:
    """All that are well known, and those among them that are worth imitating."""
    text = resources.files("atom.skills.scan").joinpath("names").joinpath(f"{system}.txt").read_text("utf-8")
    names: Sequence[str] = " ".join(line for line in text.split("\n") if not line.startswith("#")).split()
    return frozenset(names), frozenset(one for one in names[:LOOKED_AT] if len(one) >= SHORTEST)


@cache
def _scopes() -> frozenset[str]:
    return frozenset(one.partition("/")[0] for one in _names(NODE)[0] if one.startswith("@"))


@cache
def _squeezed(system: str) -> Mapping[str, str]:
    worth = _names(system)[1]
    return {one.replace("-", "").translate(ALIKE).replace("rn", "m").replace("vv", "w"): one for one in sorted(worth)}
