"""What may be said about an episode or a recall."""

from atom.errors import ConflictError, InternalError, InvalidError, NotFoundError


class EpisodeNotFoundError(NotFoundError):
    code = "episode_not_found"

    def __init__(self, ref: str) -> None:
        super().__init__(f"There is no episode {ref[:100]}.", hint="`atom episodes list` shows those there are.")


class EpisodeInvalidError(InvalidError):
    code = "episode_invalid"


class RecallInvalidError(InvalidError):
    code = "recall_invalid"


class BodyCorruptError(InternalError):
    """The bytes of an episode's texts are not those that were packed."""

    code = "episode_body_corrupt"

    def __init__(self, what: str) -> None:
        super().__init__(f"The body of an episode is damaged: {what}", hint="Restore it from a backup.")


class EpisodeHeldError(ConflictError):
    """A legal hold: nothing of this agent's memory is deleted."""

    code = "legal_hold"

    def __init__(self, agent: str, reason: str | None) -> None:
        why = f" ({reason})" if reason else ""
        super().__init__(
            f"The memory of {agent} is under a legal hold{why}: nothing of it is deleted.",
            hint=f"Whoever may lift it: atom episodes policy {agent} --no-hold",
        )
