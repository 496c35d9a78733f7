"""PATH of commands that read a skill from here."""

from pathlib import Path
from typing import Annotated

import typer

from atom.cli.failures import COULD_NOT, failed
from atom.errors import AtomError, InvalidError

SkillPath = Annotated[Path, typer.Argument(metavar="PATH", help="A SKILL.md, a folder, a zip or a tar.")]


def existing(path: Path) -> Path:
    """Raises InvalidError."""
    if not path.exists():
        raise InvalidError(f"PATH: {path} does not exist.", hint="Name a SKILL.md, a folder, a zip or a tar.")
    return path


def unread(error: AtomError, *, as_json: bool) -> typer.Exit:
    """Tells it. What is raised then: it could not be read, which is another thing than an answer that is no."""
    failed(error, as_json=as_json)
    return typer.Exit(COULD_NOT)
