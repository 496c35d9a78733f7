"""What can be wrong with an execution that somebody asks for."""

from uuid import UUID

from atom.errors import ConflictError, InvalidError, NotFoundError


class ExecutionNotFoundError(NotFoundError):
    code = "skill_execution_not_found"

    def __init__(self, id_: UUID | str) -> None:
        super().__init__(f"There is no execution {id_}.", hint="`atom skills logs` lists them.")


class ArtefactGoneError(NotFoundError):
    code = "skill_artefact_not_found"

    def __init__(self, name: str) -> None:
        said = f"The execution made no file {name!r} for a person."
        super().__init__(said, hint="`atom skills logs --id` lists them.")


class ExecutionEndedError(ConflictError):
    code = "skill_execution_ended"


class ExecutionOfRunError(ConflictError):
    """It belongs to a call of an agent, and ends with that."""

    code = "skill_execution_of_run"


class ScriptUnknownError(InvalidError):
    """The skill has no such script, or it is in no language that is run."""

    code = "skill_script_unknown"


class SkillChangedError(ConflictError):
    """Another version is in use than the one that the caller has read."""

    code = "skill_changed"


class NetworkMismatchError(InvalidError):
    """A skill that declares hosts was to run without the network, or the other way round."""

    code = "skill_network"
