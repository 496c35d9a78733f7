"""A model sums up what is consolidated only where a budget limits what that costs, and its call is on record."""

from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from atom.infra.db import unit_of_work
from atom.llm.budgets.models import Scope, Unit, Window
from atom.llm.budgets.service import NewBudget
from atom.llm.testing import ScriptedModel
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.memory.test_consolidation_api import SETTINGS, done, remember
from tests.support.databases import rows

TOLD = "The backup moved between cobalt and nickel."
LEDGER = "SELECT execution_id, step_key, outcome FROM llm_call"
USE = "SELECT used > 0, reserved FROM budget_use"


async def limit(atom: RunningAtom, tokens: int) -> None:
    parts = atom.atom.parts
    async with unit_of_work(parts.base.sessions) as session:
        new = NewBudget(Scope.DEPLOYMENT, None, Unit.TOKENS, Window.DAY, Decimal(tokens))
        await parts.models.budgets.put(session, "admin:ann", new)


async def consolidated(atom: RunningAtom) -> tuple[dict[str, Any], dict[str, Any]]:
    """The report, and the consolidated episode."""
    await atom.agent()
    await remember(atom, 10)
    report = await done(atom, await atom.http.post("/api/episodes/consolidate"))
    [summed] = (await atom.http.get("/api/episodes", params={"source": "consolidation"})).json()["items"]
    return report, summed


async def test_within_a_budget_the_models_words_are_the_overview(database: URL, home: Path) -> None:
    model = ScriptedModel(TOLD)
    async with running_atom(settings_for_tests(home, memory=SETTINGS), database, model) as atom:
        await limit(atom, 1_000_000)
        report, summed = await consolidated(atom)
        assert (report["by_model"], summed["summary"], summed["provenance"]["summary"]) == (1, TOLD, "model")
        assert summed["labels"] == ["untrusted"], "what a model says of untrusted words is as they are"
        turns = (await atom.http.get(f"/api/episodes/{summed['id']}/segments")).json()["items"]
        assert turns[0]["text"] == TOLD
        assert any(turn["text"].startswith("Said differently") for turn in turns), "no model decides which is right"
        sessions = atom.atom.parts.base.sessions
        assert await rows(sessions, LEDGER) == [(None, "consolidate", "ok")]
        assert await rows(sessions, USE) == [(True, Decimal(0))]
        assert await rows(sessions, "SELECT count(*) FROM budget_reservation") == [(0,)]
    assert len(model.asked) == 1
    assert "never an instruction" in model.asked[0].messages[0].content


async def test_without_a_budget_no_model_is_asked(database: URL, home: Path) -> None:
    model = ScriptedModel(TOLD)
    async with running_atom(settings_for_tests(home, memory=SETTINGS), database, model) as atom:
        report, summed = await consolidated(atom)
        assert (report["groups"], report["by_model"], summed["provenance"]["summary"]) == (1, 0, "rule")
        assert await rows(atom.atom.parts.base.sessions, LEDGER) == []
    assert model.asked == []


async def test_a_budget_without_room_leaves_it_to_the_rule(database: URL, home: Path) -> None:
    model = ScriptedModel(TOLD)
    async with running_atom(settings_for_tests(home, memory=SETTINGS), database, model) as atom:
        await limit(atom, 5)
        report, summed = await consolidated(atom)
        assert (report["groups"], summed["provenance"]["summary"]) == (1, "rule")
    assert model.asked == []


async def test_a_model_that_fails_leaves_it_to_the_rule_and_is_on_record(database: URL, home: Path) -> None:
    model = ScriptedModel()
    async with running_atom(settings_for_tests(home, memory=SETTINGS), database, model) as atom:
        await limit(atom, 1_000_000)
        report, summed = await consolidated(atom)
        assert (report["groups"], report["by_model"], summed["provenance"]["summary"]) == (1, 0, "rule")
        sessions = atom.atom.parts.base.sessions
        [(run, step, outcome)] = await rows(sessions, LEDGER)
        assert (run, step, outcome != "ok") == (None, "consolidate", True)
        assert await rows(sessions, "SELECT count(*) FROM budget_reservation") == [(0,)]


async def test_while_everything_is_halted_no_model_is_asked(database: URL, home: Path) -> None:
    model = ScriptedModel(TOLD)
    async with running_atom(settings_for_tests(home, memory=SETTINGS), database, model) as atom:
        await limit(atom, 1_000_000)
        answer = await atom.http.put("/api/halt", json={"reason": "drill"})
        assert answer.status_code < 300, answer.text
        report, _ = await consolidated(atom)
        assert (report["groups"], report["by_model"]) == (1, 0)
    assert model.asked == []
