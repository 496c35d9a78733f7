"""`atom version`."""

import platform

from atom import __version__
from atom.cli.options import Json
from atom.cli.output import Output


def version(as_json: Json = False) -> None:
    """Print the version of this Atom."""
    out = Output.open(as_json)
    if as_json:
        out.json({"version": __version__, "python": platform.python_version(), "platform": platform.platform()})
        return
    out.line(f"atom {__version__}")
