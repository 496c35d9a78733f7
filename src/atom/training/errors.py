"""What may be said about a training session that cannot be changed that way."""

from atom.errors import ConflictError, InvalidError, NotFoundError


class TrainingNotFoundError(NotFoundError):
    code = "training_not_found"

    def __init__(self, id_: str) -> None:
        super().__init__(f"There is no training session {id_}.", hint="`atom training list` shows them.")


class TrainingStateError(ConflictError):
    """The session is not where this could be done."""

    code = "training_state"


class TrainingInvalidError(InvalidError):
    code = "training_invalid"
