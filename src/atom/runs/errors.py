"""What can be wrong with a run, for the caller (first part) and as the recorded end of a run (second part)."""

from atom.errors import (
    AtomError,
    ConflictError,
    DeadlineError,
    InvalidError,
    LimitedError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from atom.tools.errors import ToolError


class RunNotFoundError(NotFoundError):
    code = "run_not_found"

    def __init__(self, id_: str) -> None:
        super().__init__(f"There is no run {id_}.", hint="`atom runs list` shows them.", run=id_)


class ConversationNotFoundError(NotFoundError):
    code = "conversation_not_found"

    def __init__(self, id_: str) -> None:
        super().__init__(f"There is no conversation {id_} of this agent.", hint="Leave it out to begin a new one.")


class ContextInvalidError(InvalidError):
    code = "context_invalid"


class ContextTooLargeError(TooLargeError):
    code = "context_too_large"


class SchemaInvalidError(InvalidError):
    code = "response_schema_invalid"


class RunEndedError(ConflictError):
    code = "run_ended"


class RunOpenError(ConflictError):
    """It goes on, so there is nothing to start anew."""

    code = "run_open"


class RunNotRateableError(ConflictError):
    """Only what a run has completed can be good or bad."""

    code = "run_not_rateable"


class RunNotPausedError(ConflictError):
    code = "run_not_paused"


class RunNotInReviewError(ConflictError):
    code = "run_not_in_review"


class ReviewStaleError(ConflictError):
    """The decision was about another call than the one that waits now."""

    code = "review_stale"


class ReviewInvalidError(InvalidError):
    code = "review_invalid"


class WorkspaceUnavailableError(UnavailableError):
    code = "workspace_unavailable"


class WorkspaceTooLargeError(TooLargeError):
    code = "workspace_too_large"


class ArtefactNotFoundError(NotFoundError):
    code = "artefact_not_found"


class ArtefactChangedError(ConflictError):
    """The file in the workspace is not what the run left there."""

    code = "artefact_changed"


class AgentNotActiveError(ConflictError):
    code = "agent_not_active"


class TaskInvalidError(InvalidError):
    code = "task_invalid"


class TaskTooLargeError(TooLargeError):
    code = "task_too_large"


class FileMissingError(InvalidError):
    code = "file_missing"


class UploadTooLargeError(TooLargeError):
    code = "upload_too_large"


class UploadInvalidError(InvalidError):
    code = "upload_invalid"


class IdempotencyMismatchError(InvalidError):
    """The same key came with another body."""

    code = "idempotency_mismatch"


class RunLimitError(LimitedError):
    """A bound of the run was reached; `code` of the recorded error says which."""

    code = "run_limit"
    retryable = False


class TurnLimitError(RunLimitError):
    code = "turn_limit"


class ToolCallLimitError(RunLimitError):
    code = "tool_call_limit"


class TokenLimitError(RunLimitError):
    code = "token_limit"


class WallTimeError(DeadlineError):
    code = "wall_time_limit"
    retryable = False


class ModelMisbehavedError(AtomError):
    """Bad calls or empty replies in a row: more tries would not help."""

    code = "model_misbehaved"


class CrashLoopError(AtomError):
    code = "crash_loop"


class ReviewAbortedError(AtomError):
    """A person ended the run, because nobody knows what its last call did."""

    code = "review_aborted"


class ChildRefusedError(ToolError):
    """No run of another agent is started: a cycle, too deep, or no such agent. The model may try another way."""

    code = "child_refused"


class PauseError(AtomError):
    """Not a failure: somebody wants the run to stop at this boundary."""

    code = "pause"


class HandOverError(AtomError):
    """Not a failure: this worker is going away, and the run continues on another."""

    code = "hand_over"


class ParkedError(AtomError):
    """Not a failure: the run waits for a person; the worker lets go of it."""

    code = "parked"


class NoteUnreadError(ConflictError):
    """Inside a worker only: the run does not end yet."""

    code = "note_unread"


class NoteInvalidError(InvalidError):
    code = "note_invalid"


class RunAtWorkError(ConflictError):
    code = "run_at_work"
