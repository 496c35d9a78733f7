"""What models were used for: every attempt once, and sums that are right by day, agent, model and key."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import URL, text

from atom.errors import InvalidError
from atom.infra.db import unit_of_work
from atom.kit.ids import new_id
from atom.llm.errors import ModelRequestError
from atom.llm.ledger.api import period
from atom.llm.testing import ScriptedModel
from atom.web.testing import RunningAtom, running_atom, settings_for_tests

ADD = text("""
INSERT INTO llm_call (id, agent_id, attempt, provider, model, outcome, input_tokens, output_tokens, cost_usd, seconds,
    cache_hit, at)
VALUES (:id, :agent, 1, 'openai', :model, :outcome, :tokens, :tokens, :cost, :seconds, :hit, :at)
""")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def attempt(agent: UUID | None, at: datetime, cost: str | None = "0.10", **more: Any) -> dict[str, Any]:
    values = {"model": "m", "outcome": "ok", "tokens": 10, "seconds": 1.0, "hit": False}
    return {"id": new_id(), "agent": agent, "at": at, "cost": None if cost is None else Decimal(cost), **values, **more}


async def add(atom: RunningAtom, attempts: Sequence[dict[str, Any]]) -> None:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        await session.execute(ADD, list(attempts))


async def usage(atom: RunningAtom, **query: Any) -> dict[str, Any]:
    answer = await atom.http.get("/api/usage", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_sums_are_of_every_attempt_in_the_period(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home), database) as atom:
        ann, bob = UUID((await atom.agent("ann"))["id"]), UUID((await atom.agent("bob"))["id"])
        late = NOON.replace(hour=23, minute=59)
        await add(
            atom,
            [
                attempt(ann, NOON),
                attempt(ann, late, "0.25", seconds=3.0),
                attempt(ann, late, None, outcome="llm_timeout", tokens=None, seconds=9.0),
                attempt(bob, late + timedelta(minutes=2), "0.05", model="n"),
                attempt(bob, late + timedelta(minutes=3), "0", hit=True, tokens=0),
                attempt(None, NOON - timedelta(days=1), "7"),
            ],
        )
        window = {"since": "2026-03-01T00:00:00Z", "until": "2026-03-03T00:00:00Z"}
        agents = (await usage(atom, by="agent", **window))["items"]
        assert [(one["group"], one["name"]) for one in agents] == [(str(ann), "ann"), (str(bob), "bob")]
        assert {key: agents[0][key] for key in ("calls", "failed", "cache_hits", "input_tokens", "unpriced")} == {
            "calls": 3, "failed": 1, "cache_hits": 0, "input_tokens": 20, "unpriced": 1,
        }  # fmt: skip
        assert (Decimal(agents[0]["cost_usd"]), agents[0]["seconds"]) == (Decimal("0.35"), 2.0)
        assert (agents[1]["calls"], agents[1]["cache_hits"], Decimal(agents[1]["cost_usd"])) == (2, 1, Decimal("0.05"))
        days = (await usage(atom, by="day", **window))["items"]
        assert [(one["group"], one["calls"], one["name"]) for one in days] == [
            ("2026-03-02", 2, None),
            ("2026-03-01", 3, None),
        ]
        models = (await usage(atom, by="model", **window))["items"]
        assert [(one["group"], one["calls"]) for one in models] == [("openai/m", 4), ("openai/n", 1)]
        # A minute to midnight in UTC is another day in a zone, and no other moment.
        zoned = {"since": "2026-03-02T00:59:00+01:00", "until": "2026-03-01T19:00:00-05:00"}
        assert [one["calls"] for one in (await usage(atom, by="day", **zoned))["items"]] == [2]
        naive = {"since": "2026-03-01T23:59:00", "until": "2026-03-02T00:00:00"}
        assert await usage(atom, by="day", **naive) == await usage(atom, by="day", **zoned)


async def test_groups_behind_the_limit_are_told_of(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home), database) as atom:
        await add(atom, [attempt(None, NOON, f"0.{number}", model=f"m{number}") for number in range(3)])
        window = {"since": "2026-03-01", "until": "2026-03-02"}
        cut = await usage(atom, limit=2, **window)
        assert ([one["group"] for one in cut["items"]], cut["more"]) == (["openai/m2", "openai/m1"], True)
        assert (await usage(atom, limit=3, **window))["more"] is False


async def test_bad_input_names_its_field(database: URL, home: Path) -> None:
    bad = {
        "by": ["team", ""],
        "since": ["yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "inf", "2999-01-01"],
        "until": ["x", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "nan", "-99999999999999999"],
        "limit": ["0", "-1", "100000", "many"],
    }
    async with running_atom(settings_for_tests(home), database) as atom:
        for name, values in bad.items():
            for value in values:
                answer = await atom.http.get("/api/usage", params={name: value})
                assert (answer.status_code, name in answer.text) == (422, True), (name, value, answer.text)


def test_without_a_beginning_the_period_is_of_thirty_days() -> None:
    assert period(None, None, NOON) == (NOON - timedelta(days=30), NOON)
    assert period(None, datetime(1970, 1, 2, tzinfo=UTC), NOON)[0] < datetime(1970, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidError, match="since"):
        period(NOON, NOON, NOON)


async def test_every_attempt_of_a_run_is_listed_with_its_end(database: URL, home: Path) -> None:
    refused = ModelRequestError("No.", provider="scripted", model="m", status=400)
    async with running_atom(settings_for_tests(home), database, ScriptedModel("Yes.", refused)) as atom:
        agent = await atom.agent()
        runs = [await atom.done("worker", task) for task in ("one", "two")]
        assert [run["status"] for run in runs] == ["completed", "failed"]
        listed = [(await atom.http.get(f"/api/runs/{run['id']}/calls")).json()["items"] for run in runs]
        assert [[one["outcome"] for one in calls] for calls in listed] == [["ok"], ["llm_request_refused"]]
        (ok,), (failed,) = listed
        assert (ok["step"], ok["provider"], ok["cache_hit"]) == ("turn-0", "scripted", False)
        assert ok["input_tokens"] == runs[0]["usage"]["input_tokens"] is not None
        assert ok["seconds"] >= ok["first_token_seconds"] >= 0
        assert (failed["error_class"], failed["input_tokens"]) == ("llm_request_refused (400)", None)
        (group,) = (await usage(atom, by="agent"))["items"]
        assert (group["group"], group["name"], group["calls"], group["failed"]) == (agent["id"], "worker", 2, 1)
