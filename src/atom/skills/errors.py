"""Why a bundle cannot be read. Every one names the member, the problem and the fix."""

from atom.errors import InvalidError, Kind
from atom.kit.text import clean, shorten

SHOWN = 200


def shown(name: str, limit: int = SHOWN) -> str:
    """A stranger's text as a message may carry it: control and format characters escaped, and cut at `limit`."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)
    return shorten(clean(escaped), limit)


class BundleError(InvalidError):
    """A bundle that is not read. `details`: `member` (a path inside it, or empty) and `problem` (stable word)."""

    code = "skill_bundle_unreadable"

    def __init__(self, message: str, *, problem: str, fix: str, member: str = "") -> None:
        where = f"{shown(member)}: " if member else ""
        super().__init__(f"{where}{message}", hint=fix, problem=problem, member=shown(member))
        self.problem = problem


class ArchiveRefusedError(BundleError):
    """A member that could act outside the bundle, or hide in it."""

    code = "skill_archive_refused"


class ArchiveBrokenError(BundleError):
    """Bytes that are no whole archive of a kind that is read."""

    code = "skill_archive_broken"


class BundleTooLargeError(BundleError):
    """More files or bytes than a bundle may have, counted while it is unpacked."""

    kind = Kind.TOO_LARGE
    code = "skill_bundle_too_large"


class ManifestUnreadableError(BundleError):
    """There is no SKILL.md, or nothing in it can be understood."""

    code = "skill_manifest_unreadable"
