"""What a shell text does."""

from atom.skills.ports import Syntax
from atom.skills.scan.models import Notes
from atom.skills.scan.offsets import Offsets
from atom.skills.scan.shell import programs
from atom.skills.scan.shell.effects import Reader
from atom.skills.scan.shell.words import Words


def read(text: str, root: Syntax, notes: Notes) -> None:
    """Raises TooComplexError."""
    words = Words(Offsets.of(text.encode("utf-8", "replace")), notes.budget)
    words.learn(root)
    Reader(notes, words, programs.done_by).read(root)
