"""What callers of jobs may be told."""

from atom.errors import ConflictError, NotFoundError


class JobNotFoundError(NotFoundError):
    code = "job_not_found"

    def __init__(self, id_: str) -> None:
        super().__init__(f"There is no job {id_}.", hint="`atom jobs list` shows them.")


class JobEndedError(ConflictError):
    code = "job_ended"


class JobCancelledError(ConflictError):
    """Raised inside a job's handler when somebody cancelled it."""

    code = "job_cancelled"
