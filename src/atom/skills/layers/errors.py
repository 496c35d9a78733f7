"""Why packages are not there."""

from atom.errors import ConflictError, InvalidError, TooLargeError, UnavailableError
from atom.kit.text import shorten
from atom.skills.errors import shown


class DependencyRefusedError(InvalidError):
    """A declaration that is not installed. `details`: `file`, `line` (from 1) and `problem` (stable word)."""

    code = "skill_dependency_refused"

    def __init__(self, message: str, *, problem: str, fix: str, file: str, line: int) -> None:
        super().__init__(f"{shown(file)}:{line}: {message}", hint=fix, problem=problem, file=shown(file), line=line)
        self.problem = problem


class NoSourceError(ConflictError):
    """The deployment names nothing that packages may come from."""

    code = "skill_layer_no_source"

    def __init__(self) -> None:
        super().__init__(
            "This deployment installs no packages.",
            hint="An operator names a folder of wheels in ATOM_SANDBOX__WHEELS, or an index in ATOM_SANDBOX__INDEX.",
        )


class UnresolvedError(ConflictError):
    """No set of wheels does. `details`: `problem` (stable word) and `package` (where one is to blame)."""

    code = "skill_layer_unresolved"

    def __init__(self, message: str, *, problem: str, fix: str, package: str = "") -> None:
        super().__init__(message, hint=fix, problem=problem, package=shown(package))
        self.problem = problem


class WheelRefusedError(ConflictError):
    """A wheel that could act outside of the layer, or that is no whole one. `details`: `wheel`, `member`, `problem`."""

    code = "skill_wheel_refused"

    def __init__(self, message: str, *, problem: str, wheel: str, member: str = "") -> None:
        where = f"{shown(wheel)}: " + (f"{shown(member)}: " if member else "")
        hint = "Take this package out of the source, or the requirement out of the skill."
        super().__init__(f"{where}{message}", hint=hint, problem=problem, wheel=shown(wheel), member=shown(member))
        self.problem = problem


class LayerTooLargeError(TooLargeError):
    code = "skill_layer_too_large"

    def __init__(self, what: str) -> None:
        super().__init__(f"The packages have {what}.", hint="Leave out what the skill does not need.")


class BuildFailedError(UnavailableError):
    """The build step itself broke: no pip, no Python, no time, or a source that does not answer."""

    code = "skill_layer_build_failed"
    retryable = False

    def __init__(self, message: str, *, hint: str, said: str = "") -> None:
        super().__init__(message, hint=hint, said=shorten(shown(said, 2000), 2000))
