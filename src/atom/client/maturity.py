"""The client's side of earned maturity: readiness, evidence, promotion, ratings, training."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from atom.client.models import At, Page, Wire
from atom.client.transport import Transport, segment


class Criterion(Wire):
    """`value` is None when there is nothing to measure yet."""

    name: str
    value: float | None = None
    needed: float
    at_least: bool = True
    met: bool = False


class EvidenceCounts(Wire):
    episodes: int = 0
    successes: float = 0.0
    approved: int = 0
    edited: int = 0
    rejected: int = 0
    violations: int = 0
    judged: int = 0
    intervened: int = 0


class MaturityChange(Wire):
    before: str
    after: str
    how: str
    reason: str = ""
    by: str = ""
    at: At | None = None


class Readiness(Wire):
    """What the evidence says about the next maturity. `since`: the change after which evidence counts."""

    agent: str
    agent_id: str
    action_class: str | None = None
    maturity: str
    target: str | None = None
    ready: bool = False
    criteria: tuple[Criterion, ...] = ()
    counts: EvidenceCounts = EvidenceCounts()
    since: MaturityChange | None = None
    classes: dict[str, str] = Field(default_factory=dict)
    evidence_url: str = ""


class Standing(Wire):
    """The maturity of an agent, and what it may do by class of actions."""

    agent: str
    agent_id: str
    agent_version: int
    maturity: str
    classes: dict[str, str] = Field(default_factory=dict)


class Evidence(Wire):
    id: str
    kind: str
    agent_version: int = 0
    action_class: str | None = None
    run_id: str | None = None
    run_url: str | None = None
    approval_id: str | None = None
    score: float | None = None
    at: At | None = None
    recorded_at: At | None = None
    by: str = ""
    counts: bool = True
    data: dict[str, Any] = Field(default_factory=dict)


class Rating(Wire):
    run_id: str
    score: float
    note: str | None = None
    by: str = ""
    recorded_at: At | None = None


class TrainingSession(Wire):
    id: str
    agent: str
    task: str
    origin: str = ""
    status: str
    run_id: str | None = None
    score: float | None = None
    proposed_by: str = ""
    opened_by: str | None = None
    closed_by: str | None = None
    note: str | None = None
    created_at: At | None = None
    opened_at: At | None = None
    closed_at: At | None = None


@dataclass(frozen=True, slots=True)
class Maturity:
    transport: Transport

    async def readiness(self, agent: str, *, action_class: str | None = None) -> Readiness:
        query = {"action_class": action_class}
        return await self.transport.ask(Readiness, "GET", f"{_agent(agent)}/readiness", query=query)

    async def evidence(
        self, agent: str, limit: int, *, after: str | None = None, kind: str | None = None
    ) -> Page[Evidence]:
        query = {"limit": limit, "after": after, "kind": kind}
        return await self.transport.ask(Page[Evidence], "GET", f"{_agent(agent)}/evidence", query=query)

    async def promote(
        self, agent: str, reason: str, *, action_class: str | None = None, override: bool = False
    ) -> Standing:
        """One rung up. What the evidence does not carry is refused, unless `override` says so."""
        body = {**_change(reason, action_class), "override": override}
        return await self.transport.ask(Standing, "POST", f"{_agent(agent)}/promote", body=body)

    async def demote(self, agent: str, reason: str, *, action_class: str | None = None) -> Standing:
        body = _change(reason, action_class)
        return await self.transport.ask(Standing, "POST", f"{_agent(agent)}/demote", body=body)

    async def rate(self, run_id: str, score: float, *, note: str | None = None) -> Rating:
        """1 is good, 0 is bad. The latest rating of a run counts."""
        return await self.transport.ask(
            Rating, "POST", f"/api/runs/{segment(run_id)}/rating", body=_rating(score, note)
        )

    async def rating(self, run_id: str) -> Rating:
        return await self.transport.ask(Rating, "GET", f"/api/runs/{segment(run_id)}/rating")


@dataclass(frozen=True, slots=True)
class Training:
    transport: Transport

    async def propose(self, agent: str, task: str) -> TrainingSession:
        body = {"agent": agent, "task": task}
        return await self.transport.ask(TrainingSession, "POST", "/api/training", body=body)

    async def page(
        self, limit: int, *, after: str | None = None, agent: str | None = None, status: str | None = None
    ) -> Page[TrainingSession]:
        query = {"limit": limit, "after": after, "agent": agent, "status": status}
        return await self.transport.ask(Page[TrainingSession], "GET", "/api/training", query=query)

    async def get(self, training_id: str) -> TrainingSession:
        return await self.transport.ask(TrainingSession, "GET", _training(training_id))

    async def open(self, training_id: str) -> TrainingSession:
        """Start the task as a run of yours: `run_id`."""
        return await self.transport.ask(TrainingSession, "POST", f"{_training(training_id)}/open")

    async def correct(self, training_id: str, text: str) -> TrainingSession:
        """Say what was wrong; the agent goes on in the same conversation, in a new run."""
        return await self.transport.ask(
            TrainingSession, "POST", f"{_training(training_id)}/correct", body={"text": text}
        )

    async def rate(self, training_id: str, score: float, *, note: str | None = None) -> TrainingSession:
        body = _rating(score, note)
        return await self.transport.ask(TrainingSession, "POST", f"{_training(training_id)}/rate", body=body)

    async def dismiss(self, training_id: str, *, note: str | None = None) -> TrainingSession:
        body: dict[str, Any] = {} if note is None else {"note": note}
        return await self.transport.ask(TrainingSession, "POST", f"{_training(training_id)}/dismiss", body=body)


def _change(reason: str, action_class: str | None) -> dict[str, Any]:
    return {"reason": reason, **({"action_class": action_class} if action_class else {})}


def _rating(score: float, note: str | None) -> dict[str, Any]:
    return {"score": score, **({} if note is None else {"note": note})}


def _agent(agent: str) -> str:
    return f"/api/agents/{segment(agent)}"


def _training(training_id: str) -> str:
    return f"/api/training/{segment(training_id)}"
