"""What may be said about an episode or a recall."""

from atom.errors import InvalidError, NotFoundError


class EpisodeNotFoundError(NotFoundError):
    code = "episode_not_found"

    def __init__(self, ref: str) -> None:
        super().__init__(f"There is no episode {ref[:100]}.", hint="`atom episodes list` shows those there are.")


class EpisodeInvalidError(InvalidError):
    code = "episode_invalid"


class RecallInvalidError(InvalidError):
    code = "recall_invalid"
