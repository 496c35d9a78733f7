"""Trying a skill that lies here: every script is read by its own interpreter, inside the sandbox, and none is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from atom.skills.bundle.models import Bundle
from atom.skills.execution.scripts import language_of, scripts_of
from atom.skills.sandbox.models import Language, Limits, Result, Spec
from atom.skills.sandbox.ports import Sandbox

SECONDS = 60.0
# Names the modules that are imported when the script starts, not those that it only imports when it comes to it.
PYTHON = """
import ast, importlib.util, json, os, sys
out = []
def there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:
        return True  # one that runs already, as __main__
for path in sys.argv[1:]:
    try:
        tree = ast.parse(open(path, "rb").read(), path)
    except SyntaxError as error:
        out.append({"file": path, "code": "syntax_error", "line": error.lineno, "message": error.msg})
        continue
    except (ValueError, RecursionError, MemoryError) as error:
        message = str(error) or "It is too deep to be read."
        out.append({"file": path, "code": "syntax_error", "line": None, "message": message})
        continue
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    for node in tree.body:
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in {one.partition(".")[0] for one in names}:
            if not there(name):
                message = f"No module named {name!r}"
                out.append({"file": path, "code": "module_not_found", "line": node.lineno, "message": message})
    del sys.path[0]
os.write(int(os.environ["SKILL_RESULT_FD"]), f"{os.environ['SKILL_RESULT_NONCE']} {json.dumps(out)}".encode())
"""
BASH = 'for file in "$@"; do bash -n "$file" || exit 1; done\n'
NODE = """
const { spawnSync } = require("child_process");
for (const file of process.argv.slice(2)) {
  const done = spawnSync(process.execPath, ["--check", file], { encoding: "utf8" });
  if (done.status !== 0) { process.stderr.write(done.stderr || String(done.error)); process.exit(1); }
}
"""
CHECKERS = {
    Language.PYTHON: ("atom-check.py", PYTHON),
    Language.BASH: ("atom-check.sh", BASH),
    Language.NODE: ("atom-check.cjs", NODE),
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """`code` as of an execution that would fail by it. `line` counts from 1."""

    file: str
    code: str
    message: str
    line: int | None = None

    def plain(self) -> dict[str, Any]:
        return {"file": self.file, "code": self.code, "line": self.line, "message": self.message}


@dataclass(frozen=True, slots=True)
class Trial:
    """`checked` names the scripts that were read."""

    checked: tuple[str, ...]
    troubles: tuple[Trouble, ...]


async def trial(
    bundle: Bundle, sandbox: Sandbox, languages: Sequence[Language], layers: Mapping[str, str] | None = None
) -> Trial:
    """`languages` are those that the sandbox has. `layers`: the folder of packages of each script that declares any,
    empty where they are not installed."""
    layers = layers or {}
    checked: list[str] = []
    troubles: list[Trouble] = []
    for language, (name, program) in CHECKERS.items():
        paths = [path for path in scripts_of(bundle.files) if language_of(path) is language]
        if not paths:
            continue
        if language not in languages:
            troubles += [Trouble(path, "policy", f"There is no {language} in the sandbox.") for path in paths]
            continue
        checked += paths
        files = {path: member.data for path, member in bundle.files.items()}
        for one in _together(paths, language, layers):
            folder = layers.get(one[0], "")
            spec = Spec(
                language,
                name,
                {**files, name: program.encode()},
                limits=Limits(seconds=SECONDS),
                arguments=tuple(one),
                layers=(folder,) if folder else (),
            )
            troubles += [_told(found, layers) for found in _troubles(await sandbox.run(spec), one)]
    return Trial(tuple(checked), tuple(troubles))


def _together(paths: Sequence[str], language: Language, layers: Mapping[str, str]) -> list[list[str]]:
    """Scripts that one program reads: those of Python that have the same packages."""
    if language is not Language.PYTHON:
        return [[path] for path in paths]
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(layers.get(path, ""), []).append(path)
    return list(found.values())


def _told(one: Trouble, layers: Mapping[str, str]) -> Trouble:
    """That packages are declared and not installed is why a module is not there."""
    if one.code != "module_not_found" or layers.get(one.file) != "":
        return one
    return replace(one, message=f"{one.message}; its packages are declared and not installed: `atom skills build PATH`")


def _troubles(result: Result, paths: Sequence[str]) -> list[Trouble]:
    if result.has_value and isinstance(result.value, list):
        return [Trouble(one["file"], one["code"], str(one["message"])[:500], one["line"]) for one in result.value]
    if result.exit_code == 0 and result.reason == "ok":
        return []
    said = result.stderr.decode("utf-8", "replace").strip().splitlines()
    return [Trouble(paths[0], "syntax_error", said[0][:500] if said else result.detail)]
