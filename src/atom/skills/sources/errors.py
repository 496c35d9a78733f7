"""Why nothing comes from an address."""

from collections.abc import Sequence

from atom.errors import InvalidError, NotFoundError, UnavailableError
from atom.skills.errors import shown

MOST_LISTED = 20


class SourceAddressError(InvalidError):
    """An address that is not understood, or not gone to."""

    code = "skill_source_invalid"

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint, field="url")


class SourceNotFoundError(NotFoundError):
    code = "skill_source_not_found"

    def __init__(self, url: str) -> None:
        hint = (
            "Check owner, repository and branch. Repositories that need a sign-in are not read: import them as a file."
        )
        super().__init__(f"There is nothing at {shown(url)}.", hint=hint)


class SourceFailedError(UnavailableError):
    """The site answered with something else than the archive."""

    code = "skill_source_failed"

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"{shown(url)} answers with {status}.", hint="Try again later, or import it as a file.")


class SourceAmbiguousError(InvalidError):
    """There are several skills. `skills` in the details are their folders, 20 at most."""

    code = "skill_source_ambiguous"

    def __init__(self, folders: Sequence[str], ask: Sequence[str]) -> None:
        named = ", ".join(map(shown, folders[:MOST_LISTED]))
        more = f" and {len(folders) - MOST_LISTED} more" if len(folders) > MOST_LISTED else ""
        super().__init__(
            f"There are {len(folders)} skills in it: {named}{more}.",
            hint=f"Ask for one of them, as {shown(ask[0], 1000)}" if ask else "Ask for one of them.",
            skills=[shown(one) for one in folders[:MOST_LISTED]],
        )
