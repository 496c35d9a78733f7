"""Keys over REST: what is stored, what is refused, and that a secret that went in is in no answer."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import pytest_asyncio
import structlog
from llmock.scenarios import Fail
from llmock.testing import LLMockServer
from sqlalchemy import URL, text

from atom.infra.db import unit_of_work
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.planted import planted

# With what each encoding spells in another way.
SECRET = planted("keys over HTTP", 'sk-canary/"4f9a+7b2e81d6c350=aa17\\x')
PARTS = [
    SECRET, SECRET[-8:], SECRET[:9], base64.b64encode(SECRET.encode()).decode(), quote(SECRET, safe=""),
    SECRET.encode().hex(), SECRET[11:28],
]  # fmt: skip


def clean(answer: httpx2.Response) -> httpx2.Response:
    said = answer.text + repr(dict(answer.headers))
    assert [part for part in PARTS if part in said] == []
    return answer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(cluster: Any, open_folder: Path) -> AsyncIterator[RunningAtom]:
    cluster.create("keys_api", "atom_template")
    home = open_folder / "keys-api"
    home.mkdir()
    async with running_atom(settings_for_tests(home), cluster.url("keys_api")) as atom:
        yield atom
    cluster.drop("keys_api")


@pytest_asyncio.fixture
async def atom(served: RunningAtom) -> AsyncIterator[RunningAtom]:
    with structlog.testing.capture_logs() as logged:
        yield served
    assert [part for part in PARTS if part in repr(logged)] == []
    for key in (await served.http.get("/api/keys?limit=200")).json()["items"]:
        await served.http.delete(f"/api/keys/{key['id']}")


async def add(atom: RunningAtom, name: str = "a", **fields: Any) -> dict[str, Any]:
    body = {"provider": "openai", "name": name, "secret": SECRET, **fields}
    answer = clean(await atom.http.post("/api/keys", json=body))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_key_is_added_listed_shown_changed_and_removed(atom: RunningAtom) -> None:
    made = await add(atom, owner="alice", models=["gpt-5*", "gpt-5*"], priority=7)
    assert (made["name"], made["owner"], made["models"], made["priority"]) == ("a", "alice", ["gpt-5*"], 7)
    assert (made["status"], made["version"], made["created_by"]) == ("active", 1, "admin:admin")
    assert not {"secret", "envelope", "kek_id"} & set(made)
    for ref in ("a", "A", made["id"]):
        assert clean(await atom.http.get(f"/api/keys/{ref}")).json() == made
    assert clean(await atom.http.get("/api/keys")).json() == {"items": [made], "next": None}
    changed = clean(await atom.http.patch("/api/keys/a", json={"secret": SECRET + "2", "owner": ""})).json()
    assert (changed["version"], changed["owner"], changed["priority"]) == (2, None, 7)
    assert changed["fingerprint"] != made["fingerprint"]
    assert len(changed["fingerprint"]) == 8
    assert clean(await atom.http.patch("/api/keys/a", json={"enabled": False})).json()["status"] == "disabled"
    assert clean(await atom.http.patch("/api/keys/a", json={})).json()["status"] == "disabled"
    assert clean(await atom.http.delete("/api/keys/a")).status_code == 204
    for answer in (
        await atom.http.get("/api/keys/a"),
        await atom.http.patch("/api/keys/a", json={"enabled": True}),
        await atom.http.delete(f"/api/keys/{made['id']}"),
        await atom.http.post("/api/keys/a/test"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "provider_key_not_found")


async def test_names_are_taken_once_in_any_case_and_free_again(atom: RunningAtom) -> None:
    await add(atom, "Team-A")
    for name in ("Team-A", "team-a", "TEAM-A"):
        answer = clean(await atom.http.post("/api/keys", json={"provider": "openai", "name": name, "secret": SECRET}))
        assert (answer.status_code, answer.json()["code"]) == (409, "provider_key_exists")
    at_once = await asyncio.gather(
        *(atom.http.post("/api/keys", json={"provider": "openai", "name": "b", "secret": SECRET}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in at_once) == [201, 409, 409, 409, 409]
    await atom.http.delete("/api/keys/Team-A")
    await add(atom, "team-a")


async def test_the_limit_that_is_given_with_a_key_is_there_with_it_and_goes_with_it(atom: RunningAtom) -> None:
    made = await add(atom, monthly_usd="12.5")
    (limit,) = (await atom.http.get("/api/budgets")).json()["items"]
    assert (limit["scope"], limit["subject"], limit["unit"], limit["window"]) == ("key", made["id"], "usd", "month")
    assert float(limit["amount"]) == 12.5
    await atom.http.put("/api/budgets", json={"scope": "deployment", "unit": "usd", "window": "day", "amount": "1"})
    await atom.http.delete("/api/keys/a")
    (left,) = (await atom.http.get("/api/budgets")).json()["items"]
    assert left["scope"] == "deployment"
    await atom.http.delete(f"/api/budgets/{left['id']}")


REFUSED: dict[str, dict[str, Any]] = {
    "number": {"secret": 12},
    "list": {"secret": [SECRET]},
    "nested": {"secret": {"key": SECRET}},
    "nothing": {"secret": None},
    "empty": {"secret": "  \n"},
    "too long": {"secret": SECRET * 200},
    "with a space": {"secret": SECRET + " x"},
    "with a control character": {"secret": SECRET + "\u0000x"},
    "outside ASCII": {"secret": SECRET + "ä"},
    "unknown field": {"api_key": SECRET},
    "as the priority": {"priority": SECRET},
    "as the provider": {"provider": SECRET},
    "as the owner, and too long": {"owner": SECRET * 10},
    "as the models": {"models": SECRET},
    "among the models": {"models": [{"x": SECRET}]},
    "as the options": {"options": SECRET},
    "as an option of what is no provider of it": {"options": {"region": SECRET}},
    "in the address": {"base_url": f"https://user:{SECRET}@127.0.0.1/v1"},
    "in the address's query": {"base_url": f"https://127.0.0.1/v1?key={SECRET}"},
    "priority out of bounds": {"priority": 1001},
    "priority without bounds": {"priority": 10**30},
    "a name that is an id": {"name": "01a20a0d-8e88-7117-9c08-46edfd98777f"},
    "a name with a slash": {"name": "a/b"},
    "a model that is none": {"models": ["gpt 5"]},
    "too many models": {"models": ["x"] * 101},
    "a region that is another host": {"provider": "bedrock", "options": {"region": "x@evil.example/#"}},
    "no address where one is needed": {"provider": "azure"},
    "a provider without keys": {"provider": "local"},
    "as the name": {"name": "sk-canary-0123456789"},
    "as the owner": {"owner": SECRET},
    "as a model": {"models": ["gpt-5", "AIza" + "0" * 35]},
    "in the path of the address": {"base_url": "https://127.0.0.1/v1/sk-canary-0123456789"},
    "a limit below nothing": {"monthly_usd": "-5"},
    "a limit of nothing": {"monthly_usd": 0},
    "a limit without end": {"monthly_usd": "1e400"},
    "a limit that is no number": {"monthly_usd": "NaN"},
    "as the limit": {"monthly_usd": SECRET},
}


@pytest.mark.parametrize("what", sorted(REFUSED))
async def test_a_wrong_body_is_refused_and_not_quoted(atom: RunningAtom, what: str) -> None:
    body = {"provider": "openai", "name": "wrong", "secret": SECRET, **REFUSED[what]}
    answer = clean(await atom.http.post("/api/keys", json=body))
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in {"invalid_request", "provider_key_invalid"}
    assert (await atom.http.get("/api/keys/wrong")).status_code == 404


@pytest.mark.parametrize("what", ["empty", "list", "nested", "number", "too long", "unknown field"])
async def test_a_wrong_change_is_refused_and_not_quoted(atom: RunningAtom, what: str) -> None:
    made = await add(atom)
    answer = clean(await atom.http.patch("/api/keys/a", json=REFUSED[what]))
    assert answer.status_code == 422, answer.text
    assert clean(await atom.http.get("/api/keys/a")).json() == made


@pytest.mark.parametrize("content", [f'{{"secret": "{SECRET}', f'"{SECRET}"', f"secret={SECRET}", f'["{SECRET}"]'])
async def test_what_is_no_body_at_all_is_not_quoted(atom: RunningAtom, content: str) -> None:
    headers = {"Content-Type": "application/json"}
    for method, path in (("POST", "/api/keys"), ("PATCH", "/api/keys/x"), ("PUT", "/api/routes")):
        answer = clean(await atom.http.request(method, path, content=content.encode(), headers=headers))
        assert answer.status_code in {400, 422}, answer.text


async def test_a_key_that_is_looked_for_is_not_quoted(atom: RunningAtom) -> None:
    answer = clean(await atom.http.get("/api/keys/sk-canary-0123456789"))
    assert (answer.status_code, "canary" in answer.text) == (404, False)


async def test_text_that_the_database_cannot_hold_is_cleaned_or_refused(atom: RunningAtom) -> None:
    """Never a 500."""
    made = await add(atom, owner="al\u0000ice")
    assert "\u0000" not in made["owner"]
    body = {"provider": "azure", "name": "b", "secret": SECRET, "base_url": "https://x.example"}
    answer = clean(await atom.http.post("/api/keys", json={**body, "options": {"api_version": "a\u0000b"}}))
    assert answer.status_code == 422, answer.text


async def test_the_secret_is_nowhere_in_the_database(atom: RunningAtom) -> None:
    await add(atom)
    await atom.http.patch("/api/keys/a", json={"secret": SECRET + "2"})
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        names = await session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        for name in names.all():
            rows = (await session.scalars(text(f'SELECT t::text FROM "{name}" t'))).all()
            assert [row for row in rows for part in PARTS if part in row] == [], name


@pytest.mark.parametrize("status", [401, 403, 400, 500])
async def test_a_test_that_fails_quotes_no_key(atom: RunningAtom, mock: LLMockServer, status: int) -> None:
    """The provider says the key back, as some do."""
    await add(atom, base_url=f"{mock.url}/v1")
    mock.state.scenarios.add(Fail(status, message=f"{SECRET} or {quote(SECRET)} ({SECRET[-8:]}) is wrong", times=None))
    answer = clean(await atom.http.post("/api/keys/a/test"))
    assert (answer.status_code, answer.json()["ok"]) == (200, False)
    shown = clean(await atom.http.get("/api/keys/a")).json()
    assert (shown["status"] == "refused") == (status in {401, 403})
    assert bool(shown["reason"]) == (status in {401, 403})
    mock.state.reset()
    assert clean(await atom.http.post("/api/keys/a/test")).json()["ok"]
    assert clean(await atom.http.get("/api/keys/a")).json()["status"] == "active"


async def test_rotation_is_a_job(atom: RunningAtom) -> None:
    made = await add(atom)
    answer = clean(await atom.http.post("/api/keys/rotate"))
    assert answer.status_code == 202
    async with asyncio.timeout(20):
        while (job := (await atom.http.get(answer.json()["status_url"])).json())["status"] != "completed":
            assert job["status"] in {"queued", "running"}, job
            await asyncio.sleep(0.02)
    assert (job["report"]["rewrapped"], job["report"]["left"]) == (1, 0)
    assert (await atom.http.get("/api/keys/a")).json() == made, "nothing of it shows"


async def test_a_locked_vault_is_said_to_who_adds_a_key(database: URL, home: Path) -> None:
    settings = settings_for_tests(home)
    async with running_atom(settings, database) as atom:
        await add(atom)
        kept = (home / "vault.key").read_text()
        (home / "vault.key").unlink()
        answer = clean(await atom.http.post("/api/keys", json={"provider": "openai", "name": "b", "secret": SECRET}))
        assert (answer.status_code, answer.json()["code"]) == (503, "vault_locked")
        assert "vault.key" in answer.json()["detail"]
        assert answer.json()["hint"]
        assert kept.strip() not in answer.text
