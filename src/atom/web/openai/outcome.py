"""What an ended or waiting run comes to, in words for its client and as the fields both protocols share."""

import json
from dataclasses import dataclass
from typing import Any

from atom.kit.text import shorten
from atom.runs.models import RunStatus, WaitReason
from atom.web.openai.errors import RunFailedError
from atom.web.openai.watching import Standing

WAITS = {
    WaitReason.BUDGET: "it would go over a budget",
    WaitReason.OPERATOR: "an operator is wanted",
    WaitReason.REVIEW: "nobody knows whether its last call took effect: a person decides",
    WaitReason.RESTORED: "it comes from a backup: a person decides",
}
MAX_ARGUMENTS = 500


@dataclass(frozen=True, slots=True)
class Links:
    """`base`: the address under which this client reached Atom, without a slash at its end."""

    base: str

    def run(self, run_id: object) -> str:
        return f"{self.base}/api/runs/{run_id}"

    def approval(self, approval_id: object) -> str:
        return f"{self.base}/api/approvals/{approval_id}"


def words(standing: Standing, links: Links) -> str:
    """The answer; or why there is none yet, and what to do. Raises RunFailedError when there will be none."""
    run, status = standing.run, RunStatus(standing.run.status)
    match status:
        case RunStatus.COMPLETED:
            return run.answer or ""
        case RunStatus.FAILED:
            said = run.error or {}
            raise RunFailedError(
                f"Run {run.id} failed: {said.get('message', '')}", hint=str(said.get("hint", "")),
                failed=str(said.get("code", "failed")),
            )  # fmt: skip
        case RunStatus.CANCELLED:
            raise RunFailedError(f"Run {run.id} was cancelled.", hint="", failed="run_cancelled")
    more = f"Run {run.id}: {links.run(run.id)} . Its answer stays in conversation {run.conversation_id}."
    if standing.approval is not None:
        asked = standing.approval
        arguments = shorten(json.dumps(asked.arguments, ensure_ascii=False), MAX_ARGUMENTS)
        return (
            f"[This waits for an approval: {asked.action} {arguments}. Approval {asked.id}: {links.approval(asked.id)} "
            f"(`atom approvals approve {asked.id}`). {more}]"
        )
    if status is RunStatus.PAUSED:
        return f"[Somebody paused this: `atom runs resume {run.id}` lets it go on. {more}]"
    if status is RunStatus.WAITING:
        why = WAITS.get(WaitReason(run.wait_reason or ""), "it cannot go on yet")
        detail = f" {run.wait_detail}" if run.wait_detail else ""
        return f"[This waits: {why}.{detail} {more}]"
    return f"[This takes longer and goes on. {more}]"


def extension(standing: Standing, links: Links) -> dict[str, Any]:
    """What the protocol has no field for. Clients that do not know it pass over it."""
    run, asked = standing.run, standing.approval
    return {
        "run_id": str(run.id),
        "run_url": links.run(run.id),
        "conversation_id": str(run.conversation_id),
        "status": run.status,
        "wait_reason": run.wait_reason if run.status == RunStatus.WAITING else None,
        "approval_id": str(asked.id) if asked else None,
        "approval_url": links.approval(asked.id) if asked else None,
        "sources": [f"{source['path']}:{source['line']}" for source in run.sources if source.get("cited")],
        "cost_usd": None if run.cost_usd is None else str(run.cost_usd),
    }


def tokens(standing: Standing) -> tuple[int, int] | None:
    """Input and output of the whole run. None: no provider reported any."""
    run = standing.run
    if run.input_tokens is None and run.output_tokens is None:
        return None
    return run.input_tokens or 0, run.output_tokens or 0
