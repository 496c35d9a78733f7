"""Budgets with whole Atoms: what runs in parallel may spend, where they wait, and what becomes of a reservation.

`PARALLEL_RUNS=100` is the full volume, which `make campaign` takes.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.infra.db import after_commit, unit_of_work
from atom.llm.access import KeyInfo
from atom.llm.budgets.service import BudgetService
from atom.llm.calls import AttemptRecord
from atom.llm.catalogue import Estimate, estimate_tokens
from atom.llm.errors import OverBudgetError
from atom.llm.ports import ChatRequest, Completion, FinishReason, TextDelta, Usage
from atom.llm.routes import Budget, Route
from atom.llm.testing import CannedProvider, sse
from atom.runs.spending import Spending
from atom.settings import DatabaseSettings, LlmSettings, Provider, RunSettings
from atom.web.server import ServerRole
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.planted import planted
from tests.support.polling import eventually
from tests.support.processes import script, started

SECRET = planted("keys of budgets", "sk")
MAX_TOKENS = 100
RUNS = int(os.environ.get("PARALLEL_RUNS", "30"))
FIT = 37 * RUNS // 100
STANDING = "SELECT coalesce(sum(used), 0), coalesce(sum(reserved), 0) FROM budget_use"
UNTIL_NEXT_MONTH = """
SELECT count(*) FROM agent_execution WHERE status = 'waiting'
AND abs(extract(epoch FROM resume_at - (date_trunc('month', now(), 'UTC') + interval '1 month'))) < 5
"""
HELD = "SELECT count(*) FROM budget_reservation"


@dataclass(eq=False, slots=True)
class Meter:
    """Answers while the gate is open, and reports `share` of what a call is estimated at as its usage."""

    share: float = 1.0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[ChatRequest] = field(default_factory=list)
    provider: str = Provider.SCRIPTED

    def tokens(self, request: ChatRequest) -> int:
        return int((estimate_tokens(request) + request.max_tokens) * self.share)

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        self.asked.append(request)
        await self.gate.wait()
        usage = Usage(self.tokens(request) - 10, 10, 0)
        yield TextDelta("Done.")
        yield Completion("Done.", (), FinishReason.STOP, usage, self.provider, request.model)

    async def aclose(self) -> None:
        """Nothing is open."""


def ready(**fields: Any) -> Meter:
    """One that answers at once."""
    model = Meter(**fields)
    model.gate.set()
    return model


@asynccontextmanager
async def metered(
    database: URL, home: Path, model: Meter, *, at_once: int = 8, **more: Any
) -> AsyncIterator[RunningAtom]:
    home.mkdir(exist_ok=True)
    settings = settings_for_tests(
        home,
        runs=RunSettings(lease_seconds=20, sweep_seconds=0.2, max_concurrent=at_once, max_running_per_agent=200),
        llm=LlmSettings(
            provider=Provider.SCRIPTED,
            scripted_path=home / "unused.json",
            max_tokens=MAX_TOKENS,
            cache="off",
            first_byte_timeout=300,
        ),
        database=DatabaseSettings(pool_size=10, max_overflow=2, pool_timeout=10),
    )
    async with running_atom(settings, database, model, **more) as atom:
        yield atom


async def rows(atom: RunningAtom, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        found = await session.execute(text(sql), values)
        return [tuple(row) for row in found.all()]


async def limit(atom: RunningAtom, amount: Any, **fields: Any) -> dict[str, Any]:
    body = {"scope": "deployment", "unit": "tokens", "window": "month", "amount": str(amount), **fields}
    answer = await atom.http.put("/api/budgets", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def counts(atom: RunningAtom) -> dict[str, int]:
    sql = "SELECT status || coalesce('/' || wait_reason, ''), count(*) FROM agent_execution GROUP BY 1"
    return {str(name): int(count) for name, count in await rows(atom, sql)}


async def test_runs_at_once_spend_what_there_is_and_not_a_token_more(database: URL, home: Path) -> None:
    """Two processes' worth of workers, room for 37 of 100. The others go on when a person raises the limit."""
    model = ready(share=0.9)
    worker = frozenset({ServerRole.WORKER})
    async with metered(database, home, model, at_once=50) as atom:
        await atom.agent()
        await atom.done("worker", "task 000")
        estimate, each = estimate_tokens(model.asked[0]) + MAX_TOKENS, model.tokens(model.asked[0])
        amount = (FIT - 1) * each + estimate
        budget = await limit(atom, amount)
        async with metered(database, home / "two", model, at_once=50, roles=worker, token=atom.token):
            seen: list[int] = []
            watching = asyncio.create_task(_watch(atom, amount, seen))
            model.gate.clear()
            await asyncio.gather(*(atom.start("worker", f"task {number:03}") for number in range(RUNS)))
            at_work = amount // estimate  # what is reserved is more than what is used in the end
            assert at_work < FIT
            refused = "SELECT count(DISTINCT run_id) FROM event WHERE type = 'run.waiting'"
            await eventually(lambda: _says(atom, refused, RUNS - at_work), 60, "the others are refused")
            assert not watching.done(), watching.result()
            assert len(model.asked) == 1 + at_work
            model.gate.set()
            await eventually(lambda: _says(atom, UNTIL_NEXT_MONTH, RUNS - FIT), 60, "the rest waits")
            assert await counts(atom) == {"completed": 1 + FIT, "waiting/budget": RUNS - FIT}
            assert await rows(atom, HELD) == [(0,)]
            assert await rows(atom, STANDING) == [(FIT * each, 0)]
            assert not watching.done()
            watching.cancel()
            assert max(seen) > (FIT - 1) * each  # the watch saw the limit being approached, by reservations
            await _waits_for_a_budget(atom)
            assert (await limit(atom, 1000 * estimate))["id"] == budget["id"]
            await eventually(lambda: _is(atom, {"completed": 1 + RUNS}), 60, "all go on")
            assert await rows(atom, STANDING) == [(RUNS * each, 0)]
            paid = "SELECT sum(input_tokens + output_tokens), count(*), count(DISTINCT execution_id) FROM llm_call"
            assert await rows(atom, paid) == [((1 + RUNS) * each, 1 + RUNS, 1 + RUNS)]


async def _watch(atom: RunningAtom, amount: int, seen: list[int]) -> None:
    while True:
        ((used, reserved),) = await rows(atom, STANDING)
        assert used + reserved <= amount
        seen.append(int(used + reserved))
        await asyncio.sleep(0.01)


async def _is(atom: RunningAtom, wanted: dict[str, int]) -> bool:
    return await counts(atom) == wanted


async def _says(atom: RunningAtom, sql: str, count: int) -> bool:
    return await rows(atom, sql) == [(count,)]


async def _waits_for_a_budget(atom: RunningAtom) -> None:
    waiting = (await atom.http.get("/api/runs?status=waiting&limit=200")).json()["items"]
    assert len(waiting) == RUNS - FIT
    assert {run["wait_reason"] for run in waiting} == {"budget"}
    for run in waiting:
        assert "could go over the budget of the deployment" in run["wait_detail"]
        assert "raising the limit lets the run go on" in run["wait_detail"]


async def test_a_run_goes_on_by_itself_when_the_window_ends(database: URL, home: Path) -> None:
    """A day passes: what was used is of yesterday, and the run's time has come."""
    async with metered(database, home, ready()) as atom:
        await atom.agent()
        await limit(atom, 250, window="day")
        assert (await atom.done("worker", "one"))["status"] == "completed"
        run = await atom.done("worker", "two")
        assert (run["status"], run["wait_reason"]) == ("waiting", "budget")
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        assert abs(datetime.fromisoformat(run["resume_at"]) - midnight) < timedelta(seconds=5)
        await rows(atom, "UPDATE budget_use SET window_key = '2020-01-01' RETURNING 1")
        await rows(atom, "UPDATE agent_execution SET resume_at = now() WHERE id = :id RETURNING 1", id=run["id"])
        assert (await atom.settled(run["id"], "completed"))["answer"] == "Done."


async def test_a_run_that_is_cancelled_while_it_asks_settles(database: URL, home: Path) -> None:
    """The request was sent: its tokens count, the reply that never came does not, and nothing stays reserved."""
    model = Meter()
    async with metered(database, home, model) as atom:
        await atom.agent()
        await limit(atom, 10_000)
        run = await atom.start("worker", "one")
        await eventually(lambda: model.asked, what="a call")
        ((used, reserved),) = await rows(atom, STANDING)
        assert (used, reserved) == (0, estimate_tokens(model.asked[0]) + MAX_TOKENS)
        await atom.http.post(f"/api/runs/{run['id']}/cancel")
        await atom.settled(run["id"], "cancelled")
        assert await rows(atom, STANDING) == [(estimate_tokens(model.asked[0]), 0)]
        assert await rows(atom, HELD) == [(0,)]
        assert await rows(atom, "SELECT outcome, error_class FROM llm_call") == [("aborted", None)]


async def test_a_limit_that_is_removed_while_it_is_used_ends_no_run(database: URL, home: Path) -> None:
    model = ready()
    async with metered(database, home, model) as atom:
        await atom.agent()
        for _ in range(2):  # each round hits calls before, in and after their reservation
            budget = await limit(atom, 100_000)
            started = [await atom.start("worker", "go") for _ in range(4)]
            assert (await atom.http.delete(f"/api/budgets/{budget['id']}")).status_code == 204
            started += [await atom.start("worker", "go") for _ in range(4)]
            for run in started:
                assert (await atom.settled(run["id"], "completed", "failed"))["error"] is None
        assert await rows(atom, HELD) == [(0,)]


async def test_a_process_that_has_not_heard_that_a_limit_is_gone_asks_without_it(database: URL, home: Path) -> None:
    async with metered(database, home, ready()) as atom:
        await atom.agent()
        budget = await limit(atom, 100_000)
        directory = atom.atom.parts.models.directory
        await eventually(lambda: directory.config.budgets, what="it knows of the limit")
        stale = directory.config
        await atom.http.delete(f"/api/budgets/{budget['id']}")
        await eventually(lambda: not directory.config.budgets, what="it knows that it is gone")
        accounts = atom.atom.worker.accounts
        object.__setattr__(accounts, "config", lambda: stale)
        run = await atom.done("worker", "go")
        assert (run["status"], run["error"]) == ("completed", None)


@dataclass(frozen=True, slots=True)
class RaisedMeanwhile(BudgetService):
    """Whoever is refused finds that a person raised the limit before the run was parked."""

    then: Callable[[], Awaitable[Any]]

    async def reserve(self, session: AsyncSession, budgets: Sequence[Budget], **words: Any) -> bool:
        try:
            return await BudgetService.reserve(self, session, budgets, **words)
        except OverBudgetError:
            await self.then()
            raise


async def test_a_limit_that_is_raised_while_a_run_is_being_parked_does_not_strand_it(database: URL, home: Path) -> None:
    async with metered(database, home, ready()) as atom:
        await atom.agent()
        await limit(atom, 5, window="run")
        parts, accounts = atom.atom.parts, atom.atom.worker.accounts
        late = RaisedMeanwhile(
            parts.base.outbox, parts.base.clock, parts.models.budgets.subjects, lambda: limit(atom, 5000, window="run")
        )
        object.__setattr__(accounts, "budgets", late)
        run = await atom.start("worker", "go")
        assert (await atom.settled(run["id"], "completed"))["answer"] == "Done."


@dataclass(frozen=True, slots=True)
class CancelledOnce(BudgetService):
    """The task is cancelled in the moment in which its reservation is durable, the first time."""

    done: list[bool]

    async def reserve(self, session: AsyncSession, budgets: Sequence[Budget], **words: Any) -> bool:
        held = await BudgetService.reserve(self, session, budgets, **words)
        task = asyncio.current_task()
        if not self.done and task is not None:
            self.done.append(True)
            after_commit(session, partial(_stop, task))
        return held


def _stop(task: "asyncio.Task[Any]") -> None:
    task.cancel()


async def test_a_run_whose_worker_stops_between_reservation_and_call_keeps_nothing_reserved(
    database: URL, home: Path
) -> None:
    model = ready()
    async with metered(database, home, model) as atom:
        await atom.agent()
        await limit(atom, 10_000)
        parts, accounts = atom.atom.parts, atom.atom.worker.accounts
        done: list[bool] = []
        once = CancelledOnce(parts.base.outbox, parts.base.clock, parts.models.budgets.subjects, done)
        object.__setattr__(accounts, "budgets", once)
        run = await atom.start("worker", "go")
        await atom.settled(run["id"], "completed")
        assert done
        assert len(model.asked) == 1
        assert await rows(atom, STANDING) == [(model.tokens(model.asked[0]), 0)]


async def test_what_was_reserved_for_a_call_that_never_began_is_given_back(database: URL, home: Path) -> None:
    """The task was cancelled between its reservation and its call. What ended is settled once, however often told."""
    model = ready()
    async with metered(database, home, model) as atom:
        await atom.agent()
        await limit(atom, 10_000)
        run = await atom.done("worker", "one")
        used, accounts = model.tokens(model.asked[0]), atom.atom.worker.accounts
        spending = Spending(UUID(run["id"]), UUID(run["agent_id"]), 100, accounts, atom.atom.worker.halts.admit)
        route = Route(Provider.SCRIPTED, "m", KeyInfo(Provider.SCRIPTED))
        await spending.reserve(route, Estimate(500, Decimal(0)))
        asked = await spending.reserve(route, Estimate(300, Decimal(0)))
        assert await rows(atom, STANDING) == [(used, 800)]
        record = AttemptRecord(uuid4(), "scripted", "m", None, 1, "ok", 0.1, charged=70, reservation=asked)
        for written in range(2):
            spending.note("turn-9", record)
            async with unit_of_work(accounts.sessions) as session:
                await spending.flush(session)  # as the heartbeat does: an answer waits for its reply
            assert await rows(atom, "SELECT count(*) FROM llm_call WHERE step_key = 'turn-9'") == [(written,)]
            async with unit_of_work(accounts.sessions) as session:
                await spending.flush(session, replied=record.id)
            assert await rows(atom, STANDING) == [(used + 70, 500)]
        async with unit_of_work(accounts.sessions) as session:
            await spending.flush(session, last=True)
        assert await rows(atom, STANDING) == [(used + 70, 0)]
        assert await rows(atom, "SELECT count(*) FROM llm_call WHERE step_key = 'turn-9'") == [(1,)]


async def test_what_a_killed_worker_had_reserved_counts_as_used(database: URL, home: Path) -> None:
    """SIGKILL in two calls: nobody knows whether they were paid for. Both are listed as unknown, also of the run that a
    person cancels before anybody takes it over, and nothing stays reserved."""
    model = ready()
    async with metered(database, home, model, roles=frozenset({ServerRole.WEB})) as atom:
        await atom.agent()
        await limit(atom, 100_000)
        goes_on, cancelled = [(await atom.start("worker", "one"))["id"] for _ in range(2)]
        env = {
            "DATABASE_URL": database.set(drivername="postgresql").render_as_string(hide_password=False),
            "ATOM_RUNS__LEASE_SECONDS": "2",
            "ATOM_LLM__MAX_TOKENS": "100",
            **script(home, {"replies": [{"text": "late", "delay": 60}], "repeat": True}),
        }
        with started("worker", home=home / "killed", env=env) as worker:
            await eventually(lambda: _says(atom, HELD, 2), 20, "two calls")
            os.kill(worker.pid, signal.SIGKILL)
            worker.ended()
        ((_, reserved),) = await rows(atom, STANDING)
        assert reserved > 200
        assert (await atom.http.post(f"/api/runs/{cancelled}/cancel")).json()["status"] == "running"
        worker_here = frozenset({ServerRole.WORKER})
        async with metered(database, home / "next", model, roles=worker_here, token=atom.token):
            await atom.settled(goes_on, "completed")
            await atom.settled(cancelled, "cancelled")
        outcomes = "SELECT array_agg(outcome ORDER BY attempt) FROM llm_call WHERE execution_id = :run"
        assert await rows(atom, outcomes, run=goes_on) == [(["unknown", "ok"],)]
        assert await rows(atom, outcomes, run=cancelled) == [(["unknown"],)]
        assert await rows(atom, STANDING) == [(reserved + model.tokens(model.asked[0]), 0)]
        assert await rows(atom, HELD) == [(0,)]


async def test_a_reservation_whose_run_has_ended_without_it_is_swept(database: URL, home: Path) -> None:
    async with metered(database, home, ready()) as atom:
        await atom.agent()
        await limit(atom, 10_000)
        run = await atom.done("worker", "one")
        held = """
        WITH held AS (
            INSERT INTO budget_reservation (id, budget_id, window_key, amount, execution_id)
            SELECT gen_random_uuid(), budget_id, window_key, 30, :run FROM budget_use RETURNING 1
        ), more AS (UPDATE budget_use SET used = 0, reserved = 30 RETURNING 1)
        SELECT * FROM held, more
        """
        assert await rows(atom, held, run=run["id"])
        long_ago = "UPDATE agent_execution SET ended_at = now() - interval '2 minutes' RETURNING 1"
        assert await rows(atom, long_ago)
        await eventually(lambda: _says(atom, HELD, 0), 5, "swept")
        assert await rows(atom, STANDING) == [(30, 0)]


@asynccontextmanager
async def keyed(database: URL, home: Path, provider: CannedProvider, *names: str) -> AsyncIterator[RunningAtom]:
    """An Atom with keys of an endpoint whose prices nobody knows; runs are of an agent that names its model."""
    async with metered(database, home, ready()) as atom:
        for priority, name in enumerate(names):
            fields = {"provider": "compatible", "name": name, "secret": f"{SECRET}-{name}", "priority": priority}
            answer = await atom.http.post("/api/keys", json={**fields, "base_url": f"{provider.url}/v1"})
            assert answer.status_code == 201, answer.text
        await eventually(lambda: len(atom.atom.parts.models.directory.config.keys) == len(names), what="keys known")
        await atom.agent(model="compatible/house-model")
        yield atom


def answered() -> CannedProvider:
    usage = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
    said = {"choices": [{"index": 0, "delta": {"content": "Hello."}, "finish_reason": None}], "model": "house-model"}
    stop = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "model": "house-model"}
    end = {"choices": [], "usage": usage, "model": "house-model"}
    return CannedProvider([[sse(said, stop, end, "data: [DONE]\n\n")]])


async def test_a_key_without_room_leaves_the_call_to_the_next_key(database: URL, home: Path) -> None:
    async with answered() as provider, keyed(database, home, provider, "first", "second") as atom:
        keys = {one["name"]: one["id"] for one in (await atom.http.get("/api/keys")).json()["items"]}
        budget = await limit(atom, 5, scope="key", subject=keys["first"])
        assert budget["subject_name"] == "first"
        run = await atom.done("worker", "go")
        assert (run["status"], run["answer"]) == ("completed", "Hello.")
        assert await rows(atom, "SELECT key_id::text, input_tokens, output_tokens FROM llm_call") == [
            (keys["second"], 11, 4)
        ]
        await limit(atom, 5, scope="key", subject=keys["second"])
        run = await atom.done("worker", "go on")
        assert (run["status"], run["wait_reason"]) == ("waiting", "budget")
        assert "key" in run["wait_detail"]
        usage = (await atom.http.get("/api/usage?by=key")).json()["items"]
        assert [(one["group"], one["name"], one["calls"]) for one in usage] == [(keys["second"], "second", 1)]


async def test_money_cannot_be_limited_where_nobody_knows_the_price(database: URL, home: Path) -> None:
    async with answered() as provider, keyed(database, home, provider, "only") as atom:
        budget = await limit(atom, 5, unit="usd")
        run = await atom.done("worker", "go")
        assert (run["status"], run["wait_reason"], run["resume_at"]) == ("waiting", "budget", None)
        assert "nobody knows the price of compatible/house-model" in run["wait_detail"]
        assert provider.requests == []
        await atom.http.delete(f"/api/budgets/{budget['id']}")
        assert (await atom.settled(run["id"], "completed"))["answer"] == "Hello."


async def test_a_limit_below_what_is_used_stops_the_next_call_only(database: URL, home: Path) -> None:
    async with metered(database, home, ready()) as atom:
        await atom.agent()
        await limit(atom, 10_000)
        assert (await atom.done("worker", "one"))["status"] == "completed"
        lowered = await limit(atom, 1)
        assert float(lowered["used"]) > 100
        run = await atom.done("worker", "two")
        assert (run["status"], run["wait_reason"]) == ("waiting", "budget")
        assert "more than the whole budget" in run["wait_detail"]
        assert run["resume_at"] is None  # no window makes room for it: only a person does


async def test_a_limit_of_each_run_and_of_another_agent_bind_nobody_else(database: URL, home: Path) -> None:
    async with metered(database, home, ready()) as atom:
        bound = await atom.agent("bound")
        await atom.agent("free")
        await limit(atom, 1, scope="agent", subject=bound["id"])
        await limit(atom, 250, window="run")
        assert (await atom.done("free", "one"))["status"] == "completed"
        assert (await atom.done("free", "two"))["status"] == "completed"
        run = await atom.done("bound", "one")
        assert (run["status"], run["wait_reason"]) == ("waiting", "budget")
        assert "this agent" in run["wait_detail"]


async def test_a_subject_that_does_not_exist_is_refused(database: URL, home: Path) -> None:
    async with metered(database, home, ready()) as atom:
        agent = await atom.agent()
        for scope, subject in (("agent", str(uuid4())), ("key", str(uuid4())), ("key", agent["id"])):
            body = {"scope": scope, "subject": subject, "unit": "tokens", "window": "day", "amount": "5"}
            answer = await atom.http.put("/api/budgets", json=body)
            assert answer.status_code == 422, answer.text
            assert "subject" in answer.text
            assert f"no {scope}" in answer.text
        assert (await atom.http.get("/api/budgets")).json()["items"] == []


async def test_bad_input_names_its_field(database: URL, home: Path) -> None:
    good = {"scope": "deployment", "unit": "usd", "window": "month", "amount": "5"}
    bad: dict[str, list[Any]] = {
        "scope": ["team", None, 5],
        "subject": ["not-a-uuid", str(uuid4())],
        "unit": ["eur", "", None],
        "window": ["year", "week", None],
        "amount": ["-1", "0", "NaN", "Infinity", "1e12", "99999999999999999999", "0.000000001", "much", "", None, True],
        "colour": ["red"],
    }
    async with metered(database, home, ready()) as atom:
        for field_, values in bad.items():
            for value in values:
                answer = await atom.http.put("/api/budgets", json=good | {field_: value})
                assert answer.status_code == 422, (field_, value, answer.text)
                assert field_ in answer.text, (value, answer.text)
        half = await atom.http.put("/api/budgets", json=good | {"unit": "tokens", "amount": "0.5"})
        assert (half.status_code, half.json()["detail"]) == (422, "amount: 0.5 tokens.")
        agentless = await atom.http.put("/api/budgets", json=good | {"scope": "agent"})
        assert (agentless.status_code, "subject" in agentless.text) == (422, True)
        unknown = await atom.http.delete(f"/api/budgets/{uuid4()}")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "budget_not_found")
        assert (await atom.http.delete("/api/budgets/nonsense")).status_code == 422
