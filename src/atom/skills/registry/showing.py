"""Texts of a bundle, for people who review it."""

from dataclasses import dataclass

from atom.skills.bundle.models import Bundle
from atom.skills.registry.errors import SkillFileNotFoundError, SkillFileNotTextError
from atom.skills.validation.texts import text_of

MAX_TEXT = 256 * 1024


@dataclass(frozen=True, slots=True)
class TextFile:
    """`size` in bytes of the whole file; `text` has at most 262,144 characters, `cut` when there is more."""

    path: str
    size: int
    text: str
    cut: bool


def text_file(bundle: Bundle, path: str) -> TextFile:
    """Raises SkillFileNotFoundError, SkillFileNotTextError."""
    member = bundle.files.get(path)
    if member is None:
        raise SkillFileNotFoundError(path)
    text = text_of(path, member.data)
    if text is None:
        raise SkillFileNotTextError(path)
    return TextFile(path, len(member.data), text[:MAX_TEXT], len(text) > MAX_TEXT)
