"""Evidence is written once for each source, with what it tells of; it lowers a maturity at once and raises none."""

import asyncio
import random
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from atom.agents.service import AgentService
from atom.errors import AtomError
from atom.governance.decide import Decision, Reason
from atom.governance.evidence import store
from atom.governance.evidence.kinds import OWN_FAULTS, Stepping, is_violation
from atom.governance.evidence.ladder import MOST_RECENT, Tally
from atom.governance.evidence.promotion import MaturityService, Wanted
from atom.governance.evidence.service import EvidenceService
from atom.governance.models import Maturity, Verdict
from atom.governance.ports import Outcome
from atom.governance.service import GovernanceService, standing
from atom.governance.tables import Approval
from atom.infra.db import Sessions, unit_of_work
from atom.kit.ids import new_id
from tests.governance.evidence.conftest import (
    ACTIONS,
    ADMIN,
    AGENT_KEY,
    a_run,
    attempt,
    create,
    level,
    rate,
    rows,
    wish,
)

DECIDED = (Outcome.APPROVED, Outcome.EDITED, Outcome.REJECTED)


async def test_latest_rating_of_a_run_counts_and_the_earlier_ones_stay_on_record(
    agents: AgentService, evidence: EvidenceService, sessions: Sessions
) -> None:
    agent = await create(agents, sessions)
    run = a_run(agent, "read", "write")
    for score, note, news in ((1.0, None, True), (1.0, None, False), (0.0, "it was wrong", True), (0.5, None, True)):
        async with unit_of_work(sessions) as session:
            assert await evidence.rated(session, run, ADMIN, score, note) is news
    kept = await rows(sessions, "SELECT score, counts, data -> 'classes', data ->> 'note' FROM evidence ORDER BY id")
    assert kept == [
        (1.0, False, ["read", "write"], None),
        (0.0, False, ["read", "write"], "it was wrong"),
        (0.5, True, ["read", "write"], None),
    ]
    async with unit_of_work(sessions) as session:
        tally = await store.tally(session, store.Scope(agent.id))
    assert (tally.episodes, tally.successes, tally.newest) == (1, 0.5, (0.5,))
    assert await rows(sessions, "SELECT count(*) FROM event WHERE type = 'run.rated'") == [(3,)]
    audited = await rows(sessions, "SELECT actor, decision, reason FROM audit_entry ORDER BY id")
    assert audited == [("admin:boss", "rated", f"score {score}") for score in ("1", "0", "0.5")]


async def test_evidence_and_what_it_is_evidence_of_are_one_transaction(
    agents: AgentService, governance: GovernanceService, evidence: EvidenceService, sessions: Sessions
) -> None:
    agent = await create(agents, sessions, maturity="intern")
    before = await rows(sessions, "SELECT count(*) FROM audit_entry")

    async def step() -> None:
        async with unit_of_work(sessions) as session:
            await evidence.rated(session, a_run(agent), ADMIN, 1.0, None)
            await governance.authorize(session, wish(agent, "wipe"), step_key="turn-0.call-0")
            raise AtomError("the step failed")

    with pytest.raises(AtomError, match="the step failed"):
        await step()
    assert await rows(sessions, "SELECT 1 FROM evidence") == []
    assert await rows(sessions, "SELECT count(*) FROM audit_entry") == before
    assert await level(sessions) == "intern"


async def test_only_failures_of_its_own_making_count(
    agents: AgentService, evidence: EvidenceService, sessions: Sessions
) -> None:
    agent = await create(agents, sessions)
    innocent = ["llm_unavailable", "llm_rate_limited", "internal_error", "crash_loop", "wall_time_limit", "x"]
    for code in (*sorted(OWN_FAULTS), *innocent):
        run = a_run(agent)
        for _ in range(2):  # a commit whose answer was lost is done again
            async with unit_of_work(sessions) as session:
                await evidence.failed(session, run, code)
    kept = await rows(sessions, "SELECT data ->> 'code', score FROM evidence ORDER BY 1")
    assert kept == [(code, 0.0) for code in sorted(OWN_FAULTS)]


async def test_intervention_of_a_person_counts_once_for_each_way(
    agents: AgentService, evidence: EvidenceService, sessions: Sessions
) -> None:
    agent = await create(agents, sessions)
    run = a_run(agent, "fetch")
    for by, how in ((AGENT_KEY, Stepping.PAUSE), *[(ADMIN, how) for how in (Stepping.PAUSE, *Stepping)]):
        async with unit_of_work(sessions) as session:
            await evidence.intervened(session, run, by, how)
    kept = await rows(sessions, "SELECT kind, by, data ->> 'step' FROM evidence ORDER BY id")
    assert kept == [("intervention", "admin:boss", how) for how in ("pause", "cancel", "correct", "take_over")]
    async with unit_of_work(sessions) as session:
        tally = await store.tally(session, store.Scope(agent.id))
    assert (tally.judged, tally.intervened, tally.episodes) == (1, 1, 0)


@pytest.mark.parametrize("outcome", DECIDED)
async def test_decided_approval_is_evidence_of_its_class(
    agents: AgentService, evidence: EvidenceService, sessions: Sessions, outcome: Outcome
) -> None:
    agent = await create(agents, sessions)
    approval = Approval(
        id=new_id(), execution_id=new_id(), agent_id=agent.id, agent_version=1, action="fetch", decided_by="admin:boss"
    )
    for _ in range(2):
        async with unit_of_work(sessions) as session:
            await evidence.decided(session, approval, outcome)
    kept = await rows(sessions, "SELECT kind, action_class, by, approval_id FROM evidence")
    assert kept == [(outcome.value, "egress", "admin:boss", approval.id)]


DENIALS = [
    (Reason.FAR_ABOVE_MATURITY, True), (Reason.POLICY, True), (Reason.UNKNOWN_ACTION, False),
    (Reason.NOT_GRANTED, False), (Reason.AUTOMATED_TRIGGER, False), (Reason.AGENT_NOT_ACTIVE, False),
    (Reason.REJECTED, False), (Reason.APPROVAL_EXPIRED, False),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "violation"), DENIALS)
def test_mistakes_are_not_violations(reason: Reason, violation: bool) -> None:
    assert is_violation(Decision(Verdict.DENY, reason)) is violation
    assert not is_violation(Decision(Verdict.ASK, reason))
    assert not is_violation(Decision(Verdict.ALLOW, reason))


async def test_violation_costs_a_rung_at_once_and_the_same_call_again_no_more(
    agents: AgentService, governance: GovernanceService, sessions: Sessions
) -> None:
    agent = await create(agents, sessions, maturity="supervised")
    run = new_id()
    assert (await attempt(governance, sessions, wish(agent, "write", run))).verdict is Verdict.ALLOW
    for _ in range(3):
        assert (await attempt(governance, sessions, wish(agent, "fetch", run, to="a"))).reason is Reason.POLICY
        assert await level(sessions) == "intern"
    assert (await attempt(governance, sessions, wish(agent, "wipe", run))).reason is Reason.FAR_ABOVE_MATURITY
    assert await level(sessions) == "student"
    assert (await attempt(governance, sessions, wish(agent, "fetch", run, to="b"))).verdict is Verdict.DENY
    assert await level(sessions) == "student"
    kept = await rows(sessions, "SELECT kind, action_class FROM evidence ORDER BY id")
    assert kept == [("violation", "egress"), ("violation", "destroy"), ("violation", "egress")]
    told = await rows(
        sessions,
        "SELECT data ->> 'before', data ->> 'after', run_id FROM event WHERE type = 'agent.demoted' ORDER BY id",
    )
    assert told == [("supervised", "intern", run), ("intern", "student", run)]
    audited = await rows(
        sessions, "SELECT actor, decision, reason FROM audit_entry WHERE action = 'maturity' ORDER BY id"
    )
    assert audited == [
        ("admin:boss", "overridden", "supervised"),
        ("system:evidence", "demoted", "intern"),
        ("system:evidence", "demoted", "student"),
    ]
    assert await rows(sessions, "SELECT version, maturity FROM agent") == [(3, "student")]
    assert await rows(sessions, "SELECT count(*) FROM event WHERE type = 'agent.violated'") == [(3,)]


async def test_agent_does_not_fall_for_what_those_it_works_for_have_not_earned(
    agents: AgentService, governance: GovernanceService, sessions: Sessions
) -> None:
    able = await create(agents, sessions, maturity="supervised")
    caller = await create(agents, sessions, "caller")
    wanted = replace(wish(able, "wipe"), callers=(caller.id,))
    assert (await attempt(governance, sessions, wanted)).reason is Reason.FAR_ABOVE_MATURITY
    assert await rows(sessions, "SELECT 1 FROM evidence") == []
    assert (await attempt(governance, sessions, replace(wanted, callers=()))).verdict is Verdict.ASK


async def test_simultaneous_violations_of_one_call_cost_one_rung(
    agents: AgentService, governance: GovernanceService, sessions: Sessions
) -> None:
    agent = await create(agents, sessions, maturity="autonomous")
    run = new_id()
    await asyncio.gather(*(attempt(governance, sessions, wish(agent, "fetch", run)) for _ in range(5)))
    assert await level(sessions) == "supervised"
    assert len(await rows(sessions, "SELECT 1 FROM evidence")) == 1


async def test_bound_under_the_floor_costs_a_rung_and_what_led_there_is_spent(
    agents: AgentService, evidence: EvidenceService, maturity: MaturityService, sessions: Sessions
) -> None:
    agent = await create(agents, sessions, maturity="supervised")
    await rate(evidence, sessions, agent, [1.0] * 20 + [0.0] * 6)
    assert await level(sessions) == "supervised"
    await rate(evidence, sessions, agent, [0.0])
    assert await level(sessions) == "intern"
    [(how, by)] = await rows(sessions, "SELECT how, by FROM maturity_change WHERE how <> 'overridden'")
    assert (how, by) == ("demoted", "system:evidence")
    await rate(evidence, sessions, agent, [0.0] * 2)
    assert await level(sessions) == "intern"
    async with unit_of_work(sessions) as session:
        report = await maturity.report(session, "worker")
    assert report.since is not None
    assert (report.since.after, report.tally.episodes) == ("intern", 2)


async def test_old_runs_prove_nothing_anew(
    agents: AgentService, evidence: EvidenceService, maturity: MaturityService, sessions: Sessions
) -> None:
    """Neither rated late, nor rated again after a change of maturity, does a run of before count."""
    agent = await create(agents, sessions)
    async with unit_of_work(sessions) as session:
        began = await session.scalar(text("SELECT now()"))
    runs = [a_run(agent, began=began) for _ in range(12)]
    for run in runs[:10]:
        async with unit_of_work(sessions) as session:
            await evidence.rated(session, run, ADMIN, 1.0, None)
    async with unit_of_work(sessions) as session:
        assert (await maturity.report(session, "worker")).readiness.ready
        await maturity.promote(session, ADMIN, "worker", Wanted("ten good runs"))
    for run, score in zip(runs, [0.9] * 10 + [1.0] * 2, strict=True):
        async with unit_of_work(sessions) as session:
            assert await evidence.rated(session, run, ADMIN, score, None)
    async with unit_of_work(sessions) as session:
        report = await maturity.report(session, "worker")
    assert report.tally == Tally()
    assert report.readiness.maturity is Maturity.INTERN


async def test_ratings_taken_back_cost_the_maturity_that_they_had_earned(
    agents: AgentService, evidence: EvidenceService, maturity: MaturityService, sessions: Sessions
) -> None:
    agent = await create(agents, sessions)
    runs = await rate(evidence, sessions, agent, [1.0] * 10)
    async with unit_of_work(sessions) as session:
        await maturity.promote(session, ADMIN, "worker", Wanted("ten good runs"))
    for run, left in zip(runs[:3], ["intern", "intern", "student"], strict=True):
        async with unit_of_work(sessions) as session:
            await evidence.rated(session, run, ADMIN, 0.0, "looked at again")
        assert await level(sessions) == left


async def test_a_sum_in_sql_is_the_sum(agents: AgentService, evidence: EvidenceService, sessions: Sessions) -> None:
    agent = await create(agents, sessions)
    chance = random.Random(11)
    runs = [a_run(agent, *chance.sample(sorted(ACTIONS), 2)) for _ in range(25)]
    scores: dict[UUID, float] = {}
    stepped: set[UUID] = set()
    decided = dict.fromkeys(DECIDED, 0)
    async with unit_of_work(sessions) as session:
        for run in runs:
            kind = chance.choice(["rated", "rated", "failed", "intervened", "decided"])
            if kind == "rated":
                scores[run.run_id] = chance.choice([0.0, 0.5, 1.0])
                await evidence.rated(session, run, ADMIN, scores[run.run_id], None)
            elif kind == "failed":
                scores[run.run_id] = 0.0
                await evidence.failed(session, run, "turn_limit")
            elif kind == "intervened":
                stepped.add(run.run_id)
                await evidence.intervened(session, run, ADMIN, Stepping.CANCEL)
            else:
                outcome = chance.choice(DECIDED)
                decided[outcome] += 1
                stepped |= {run.run_id} if outcome is Outcome.EDITED else set()
                approval = Approval(
                    id=new_id(), execution_id=run.run_id, agent_id=agent.id, agent_version=1, action="read"
                )
                await evidence.decided(session, approval, outcome)
        tally = await store.tally(session, store.Scope(agent.id))
        by_class = await store.tally(session, store.Scope(agent.id, "egress"))
    assert (tally.episodes, tally.successes) == (len(scores), sum(scores.values()))
    assert (tally.judged, tally.intervened) == (len(scores.keys() | stepped), len(stepped))
    assert (tally.approved, tally.edited, tally.rejected) == tuple(decided.values())
    assert sum(tally.newest) == tally.successes
    assert len(tally.newest) <= MOST_RECENT
    with_fetch = [run for run in runs if "fetch" in run.used and run.run_id in scores]
    assert by_class.episodes == len(with_fetch)


PIECES = st.sampled_from(["good", "bad", "fair", "failed", "paused", "approved", "edited", "rejected", "violated"])


@given(st.lists(PIECES, max_size=8), st.sampled_from(Maturity), st.randoms())
async def test_no_sequence_of_evidence_raises_a_maturity(
    agents: AgentService, governance: GovernanceService, sessions: Sessions, pieces: list[str], start: Maturity, at: Any
) -> None:
    """Whatever an agent does and whatever is said of it: only a person's promotion goes up."""
    evidence = governance.evidence
    agent = await create(agents, sessions, f"a{new_id().hex[:12]}", maturity=start.value)
    ranks = [start.rank]
    worst = ["bad"] * at.choice([0, 0, 0, 10])  # enough of them to fall by the bound
    for piece in [*pieces, *worst]:
        run = a_run(agent, at.choice(sorted(ACTIONS)))
        async with unit_of_work(sessions) as session:
            if piece in {"good", "bad", "fair"}:
                score = {"good": 1.0, "bad": 0.0, "fair": 0.5}[piece]
                await evidence.rated(session, run, ADMIN, score, None)
            elif piece == "failed":
                await evidence.failed(session, run, "model_misbehaved")
            elif piece == "paused":
                await evidence.intervened(session, run, ADMIN, Stepping.PAUSE)
            elif piece == "violated":
                await governance.authorize(session, wish(agent, "fetch", run.run_id), step_key="turn-0.call-0")
            else:
                approval = Approval(
                    id=new_id(), execution_id=run.run_id, agent_id=agent.id, agent_version=1, action="write"
                )
                await evidence.decided(session, approval, Outcome(piece))
            now = standing(await agents.get(session, str(agent.id)))
        ranks.append(now.maturity.rank)
        assert piece != "violated" or ranks[-1] == max(1, ranks[-2] - 1)
        assert all(now.at(action).rank <= ranks[-1] for action in ACTIONS.values())
    assert ranks == sorted(ranks, reverse=True)
