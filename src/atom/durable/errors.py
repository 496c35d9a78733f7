"""What callers of jobs may be told."""

from atom.errors import ConflictError, InternalError, NotFoundError


class JobNotFoundError(NotFoundError):
    code = "job_not_found"

    def __init__(self, id_: str) -> None:
        super().__init__(f"There is no job {id_}.", hint="`atom jobs list` shows them.")


class JobEndedError(ConflictError):
    code = "job_ended"


class JobCancelledError(ConflictError):
    """Raised inside a job's handler when somebody cancelled it."""

    code = "job_cancelled"


class UnknownJobError(ConflictError):
    """An older Atom met a job that a newer one started."""

    code = "unknown_job"


class JobCrashLoopError(InternalError):
    code = "crash_loop"
