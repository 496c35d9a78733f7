"""Where a command writes what is more than a screen of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from atom.errors import UnavailableError

OutFile = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there, not to stdout.")]


@contextmanager
def written(file: Path | None) -> Iterator[TextIO]:
    """stdout, or a file that is there when it is whole."""
    if file is None:
        yield sys.stdout
        return
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("w", encoding="utf-8") as target:
            yield target
        part.replace(file)
    except OSError as error:
        raise UnavailableError(f"{file} cannot be written ({type(error).__name__}).") from error
