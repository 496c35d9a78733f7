"""Limits over REST: what is refused, with the field that is wrong, and how they are listed."""

from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import URL

from tests.runs.test_budgets import metered, ready


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


async def test_limits_come_in_pages(database: URL, home: Path) -> None:
    async with metered(database, home, ready()) as atom:
        made = []
        for unit, window in product(("tokens", "usd"), ("run", "day", "month")):
            body = {"scope": "deployment", "unit": unit, "window": window, "amount": "5"}
            made.append((await atom.http.put("/api/budgets", json=body)).json()["id"])
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            answer = await atom.http.get("/api/budgets", params={"limit": 4, **({"after": after} if after else {})})
            found += [one["id"] for one in answer.json()["items"]]
            assert len(found) in {4, 6}
            after = answer.json()["next"]
        assert found == made
        assert (await atom.http.get("/api/budgets?after=nonsense")).status_code == 422


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
