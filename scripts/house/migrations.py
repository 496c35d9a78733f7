"""The history of the schema: numbered files, one line, one head."""

import re
from pathlib import Path

from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError

from scripts.house.tree import Problem

FOLDER = "src/atom/migrations"
FILE = re.compile(r"^(\d{4})_[a-z0-9_]+\.py$")


def check(root: Path) -> list[Problem]:
    try:
        scripts = list(ScriptDirectory(str(root / FOLDER)).walk_revisions())[::-1]
    except (CommandError, KeyError) as error:
        return [Problem(FOLDER, 1, f"alembic cannot read the history: {error}")]
    if not scripts:
        return [Problem(FOLDER, 1, "there is no migration")]
    return [problem for number, script in enumerate(scripts, 1) for problem in _check_one(number, script, scripts)]


def _check_one(number: int, script: Script, scripts: list[Script]) -> list[Problem]:
    name = Path(script.path).name
    where = f"{FOLDER}/versions/{name}"
    match = FILE.match(name)
    expected_parent = scripts[number - 2].revision if number > 1 else None
    problems = []
    if match is None or int(match[1]) != number:
        problems.append(Problem(where, 1, f"migration {number} is a file {number:04}_what_it_does.py"))
    elif script.revision != match[1]:
        problems.append(
            Problem(where, 1, f"its revision is {match[1]!r}, as in its file name, not {script.revision!r}")
        )
    if script.down_revision != expected_parent:
        problems.append(Problem(where, 1, f"one line of history: its down_revision is {expected_parent!r}"))
    return problems
