"""Why an execution failed, in one code, one sentence, and what to do about it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from atom.skills.errors import shown
from atom.skills.execution.models import ExecutionStatus
from atom.skills.layers.advice import Program, advise
from atom.skills.sandbox.models import ExitReason, Result

MOST_MESSAGE = 500
LAST_LINE = 300


class Code(StrEnum):
    """Stable: the log, the guide's queries and alerts use them."""

    SYNTAX_ERROR = "syntax_error"
    IMPORT_ERROR = "import_error"
    MODULE_NOT_FOUND = "module_not_found"
    MISSING_COMMAND = "missing_command"
    SCRIPT_ERROR = "script_error"
    TIMEOUT = "timeout"
    OOM = "oom"
    PIDS = "pids"
    DISK = "disk"
    OUTPUT = "output"
    POLICY = "policy"
    ENGINE_MISSING = "engine_missing"
    ENGINE_FAILED = "engine_failed"
    DEPENDENCY_REFUSED = "dependency_refused"
    INTERRUPTED = "interrupted"
    CORRUPT = "corrupt"


@dataclass(frozen=True, slots=True)
class Ending:
    """`code` None: it did not fail. `message` is what the guide's query groups by: nothing in it that is unique."""

    status: ExecutionStatus
    code: Code | None = None
    message: str = ""
    advice: str = ""


ADVICE: Mapping[Code, str] = {
    Code.SCRIPT_ERROR: "`atom skills logs --id` shows what it printed.",
    Code.TIMEOUT: "ATOM_SANDBOX__TIMEOUT is the bound, in seconds; or give the script less to do at once.",
    Code.OOM: "ATOM_SANDBOX__MEMORY is the bound; or let the script read its input piece by piece.",
    Code.PIDS: "ATOM_SANDBOX__PIDS is the bound on processes and threads.",
    Code.DISK: "ATOM_SANDBOX__DISK is the bound on what it writes.",
    Code.OUTPUT: "ATOM_SANDBOX__OUTPUT_BYTES is the bound on what it prints; files belong into the folder output.",
    Code.POLICY: "`atom skills sandbox probe` shows what this machine keeps, and what is missing.",
    Code.ENGINE_MISSING: "`atom skills sandbox probe` shows what works here; `atom serve --role sandbox` is a runner.",
    Code.ENGINE_FAILED: "Run it again; when it stays so, the log has the reason under sandbox.engine_failed.",
    Code.INTERRUPTED: "Run it again.",
    Code.CORRUPT: "Take it in again, and look at who changes the database.",
}
BY_REASON: Mapping[ExitReason, Code] = {
    ExitReason.TIMEOUT: Code.TIMEOUT,
    ExitReason.OOM: Code.OOM,
    ExitReason.PIDS: Code.PIDS,
    ExitReason.DISK: Code.DISK,
    ExitReason.OUTPUT: Code.OUTPUT,
    ExitReason.POLICY: Code.POLICY,
}


def ending_of(result: Result, program: Program) -> Ending:
    """Of what a sandbox gave back."""
    match result.reason:
        case ExitReason.OK:
            return Ending(ExecutionStatus.COMPLETED)
        case ExitReason.KILLED:
            return Ending(ExecutionStatus.CANCELLED, message="It was ended from outside.")
        case ExitReason.ENGINE:
            return failed(Code.ENGINE_FAILED if result.backend else Code.ENGINE_MISSING, result.detail)
        case ExitReason.ERROR:
            return _of_script(result, program)
    return failed(BY_REASON[result.reason], result.detail)


def failed(code: Code, message: str, advice: str = "") -> Ending:
    return Ending(ExecutionStatus.FAILED, code, shown(message, MOST_MESSAGE), advice or ADVICE.get(code, ""))


def _of_script(result: Result, program: Program) -> Ending:
    known = advise(program, result.exit_code, result.stderr)
    if known is not None:
        return failed(Code(known.code.value), known.message, known.fix)
    lines = result.stderr.decode("utf-8", "replace").strip().splitlines()
    last = f" {shown(lines[-1], LAST_LINE)}" if lines else ""
    return failed(Code.SCRIPT_ERROR, f"{result.detail}{last}")
