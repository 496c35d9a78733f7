"""What may be said about an episode or a recall."""

from atom.errors import ConflictError, InternalError, InvalidError, NotFoundError, UnavailableError


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


class EpisodeColdError(ConflictError):
    """Its texts are in the cold store, and what is to be done needs them in the database."""

    code = "episode_cold"

    def __init__(self, ref: str) -> None:
        super().__init__(
            f"The texts of episode {ref[:100]} are in the cold store.", hint=f"atom episodes restore {ref[:100]}"
        )


class NotConsolidatedError(ConflictError):
    """There is nothing to split: it sums up no other."""

    code = "episode_not_consolidated"

    def __init__(self, ref: str) -> None:
        super().__init__(f"Episode {ref[:100]} sums up no others.", hint="atom episodes list --source consolidation")


class EpisodeMovingError(ConflictError):
    """Somebody else moves the same episodes just now."""

    code = "episode_moving"
    retryable = True

    def __init__(self, ref: str) -> None:
        super().__init__(f"Sources of episode {ref[:100]} are being moved just now.", hint="Try again.")


class ColdStoreUnavailableError(UnavailableError):
    """It does not answer in time, refuses, or has no room. `why` has no secret in it."""

    code = "cold_store_unavailable"

    def __init__(self, place: str, why: str) -> None:
        super().__init__(
            f"The cold store {place} does not answer as it should ({why}).",
            hint="ATOM_MEMORY__COLD_URL and its credentials say which; nothing is lost, what is there stays there.",
        )


class ColdObjectMissingError(UnavailableError):
    """An object that the database names is not in the cold store: the wrong one is mounted, or somebody deleted it."""

    code = "cold_object_missing"
    retryable = False

    def __init__(self, place: str, path: str) -> None:
        super().__init__(
            f"The cold store {place} has no {path}.",
            hint="Is it the right folder or bucket (ATOM_MEMORY__COLD_URL)? Else restore it from a backup.",
        )


class ArchiveBusyError(ConflictError):
    """Another runner writes to the cold store."""

    code = "archive_busy"
    retryable = True

    def __init__(self) -> None:
        super().__init__("Another job writes to the cold store just now.", hint="`atom jobs list` shows it.")


class ColdStoreCorruptError(InternalError):
    """What was read back is not what was written: nothing has moved."""

    code = "cold_store_corrupt"

    def __init__(self, place: str, path: str) -> None:
        super().__init__(
            f"What the cold store {place} has as {path} is not what was written.",
            hint="Every body is where it was. Check the disk, or the bucket, before the next try.",
        )
