"""Why the registry refuses."""

from collections.abc import Sequence
from typing import Any

from atom.errors import ConflictError, ForbiddenError, InternalError, InvalidError, NotFoundError
from atom.skills.errors import shown

SAID = 5  # findings that a message names


class SkillNotFoundError(NotFoundError):
    code = "skill_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no skill {shown(name)!r}.", hint="`atom skills list` names them.")


class SkillVersionNotFoundError(NotFoundError):
    code = "skill_version_not_found"

    def __init__(self, name: str, digest: str) -> None:
        super().__init__(
            f"Skill {shown(name)!r} has no version {shown(digest)}.", hint="`atom skills show` lists them."
        )


class SkillFileNotFoundError(NotFoundError):
    code = "skill_file_not_found"

    def __init__(self, path: str) -> None:
        super().__init__(f"The version has no file {shown(path)!r}.", hint="Its list of files names them.")


class SkillFileNotTextError(InvalidError):
    code = "skill_file_not_text"

    def __init__(self, path: str) -> None:
        super().__init__(f"{shown(path)} is no text.", hint="Only texts are shown.")


class SkillNameInvalidError(InvalidError):
    """A bundle that nothing can be called by."""

    code = "skill_name_invalid"


class SkillFindingsError(ConflictError):
    """Findings of severity error that importing does not mend."""

    code = "skill_has_errors"

    def __init__(self, findings: Sequence[dict[str, Any]], count: int) -> None:
        named = [f"{one['id']} ({one['file']}{':' + str(one['line']) if one['line'] else ''})" for one in findings]
        more = ", ..." if count > SAID else ""
        super().__init__(
            f"{count} errors stand in the way: {', '.join(named[:SAID])}{more}.",
            hint="Correct the skill and import it again; `atom skills show` has each of them.",
            errors=count,
        )


class SkillConsentError(ConflictError):
    """The hashes that were consented to are not those of this version."""

    code = "skill_consent_mismatch"

    def __init__(self, which: str) -> None:
        super().__init__(
            f"{which}: this is not the hash of the version.",
            hint="Look at the version again, and consent to what it is now.",
            field=which,
        )


class SkillStatusError(ConflictError):
    """A version cannot become that from what it is."""

    code = "skill_status_conflict"

    def __init__(self, status: str, wanted: str, *, hint: str) -> None:
        super().__init__(f"The version is {status}: it cannot be {wanted}.", hint=hint, status_now=status)


class TooManySkillsError(ConflictError):
    code = "too_many_skills"


class SkillNotUsableError(ForbiddenError):
    """`reason` is a stable word: not_active, agent, maturity, risk."""

    code = "skill_not_usable"

    def __init__(self, message: str, *, reason: str, hint: str) -> None:
        super().__init__(message, hint=hint, reason=reason)


class SkillCorruptError(InternalError):
    """What is stored is not what was imported. It is not used."""

    code = "skill_corrupt"
