"""Agents over REST: named once, changed by versions, given maturity by admins only, retired for good."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio

from atom.web.testing import RunningAtom, running_atom, settings_for_tests


@pytest_asyncio.fixture(scope="module")
async def atom(cluster: Any, open_folder: Path) -> AsyncIterator[RunningAtom]:
    home = open_folder / uuid4().hex[:8]
    home.mkdir(mode=0o711)
    name = f"agents_{uuid4().hex[:12]}"
    database = cluster.create(name, "atom_template")
    async with running_atom(settings_for_tests(home), database) as running:
        yield running
    cluster.drop(name)


def new_name() -> str:
    return f"a-{uuid4().hex[:12]}"


async def create(atom: RunningAtom, **fields: Any) -> dict[str, Any]:
    return await atom.agent(new_name(), **fields)


def refused(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    return body


async def versions(atom: RunningAtom, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await atom.http.get(f"/api/agents/{name}/versions?limit=200")).json()["items"]
    return found


async def test_a_new_agent_is_an_active_student_without_tools(atom: RunningAtom) -> None:
    made = await create(atom)
    assert (made["status"], made["maturity"], made["version"], made["tools"], made["model"]) == (
        "active",
        "student",
        1,
        [],
        None,
    )
    assert "say where each fact comes from" in made["instructions"]
    assert (await atom.http.get(f"/api/agents/{made['id']}")).json() == made
    assert (await atom.http.get(f"/api/agents/{made['name'].upper()}")).json() == made


NAMES = ["", " ", "a b", "-a", ".a", "_a", "a" * 65, "caf\xe9", "a/b", "a\\b", "a\x00", "a\n", "..", "\u0430", "a%2f",
         "01a20a0d-8e88-7117-9c08-46edfd98777f", "<b>", "a;DROP TABLE agent"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_what_cannot_be_a_name_is_refused(atom: RunningAtom, name: str) -> None:
    assert refused(await atom.http.post("/api/agents", json={"name": name}), 422, "agent_invalid")["field"] == "name"


async def test_names_differ_in_more_than_case_whoever_comes_first(atom: RunningAtom) -> None:
    name = new_name()
    spelled = [name, name.upper(), name.capitalize(), name.title()] * 5
    answers = await asyncio.gather(*(atom.http.post("/api/agents", json={"name": one}) for one in spelled))
    made = [answer for answer in answers if answer.status_code == 201]
    assert len(made) == 1
    for answer in answers:
        if answer is not made[0]:
            refused(answer, 409, "agent_exists")
    assert len(await versions(atom, name)) == 1


async def test_tools_and_models_that_are_not_there_are_refused_by_name(atom: RunningAtom) -> None:
    for fields, code, said in (
        ({"tools": ["read_files"]}, "agent_invalid", "'read_files'"),
        ({"tools": ["READ_FILE"]}, "agent_invalid", "'READ_FILE'"),
        ({"tools": ["read_file", ""]}, "agent_invalid", "''"),
        ({"tools": ["read_file"] * 201}, "invalid_request", "tools"),
        ({"model": "nope/x"}, "llm_not_configured", "'nope'"),
        ({"model": "openai/x"}, "llm_not_configured", "OPENAI_API_KEY"),
        ({"model": "x" * 201}, "invalid_request", "model"),
        ({"maturity": "expert"}, "agent_invalid", "'expert'"),
        ({"maturity": "Intern"}, "agent_invalid", "'Intern'"),
        ({"instructions": "x" * 50_001}, "agent_invalid", "50001 characters"),
        ({"status": "retired"}, "invalid_request", "status"),
    ):
        body = refused(await atom.http.post("/api/agents", json={"name": new_name(), **fields}), 422, code)
        assert said in body["detail"]
        made = await create(atom)
        refused(await atom.http.patch(f"/api/agents/{made['name']}", json=fields), 422, code)
        assert (await atom.http.get(f"/api/agents/{made['name']}")).json() == made


async def test_a_tool_named_twice_is_given_once_and_text_is_kept_as_text(atom: RunningAtom) -> None:
    fields = {"tools": ["read_file", "calculate", "read_file"], "instructions": "a\x00b \ud800 \U0001f600\n"}
    body = json.dumps({"name": new_name(), **fields}).encode()
    made = (await atom.http.post("/api/agents", content=body, headers={"Content-Type": "application/json"})).json()
    assert made["tools"] == ["read_file", "calculate"]
    assert made["instructions"] == "a\ufffdb ? \U0001f600\n"


async def test_only_an_admin_gives_a_maturity_other_than_student(atom: RunningAtom) -> None:
    token = (await atom.http.post("/api/tokens", json={"name": "op", "role": "operator"})).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    mature = await create(atom, maturity="autonomous")
    for level in ("intern", "supervised", "autonomous"):
        made = await atom.http.post("/api/agents", json={"name": new_name(), "maturity": level}, headers=headers)
        refused(made, 403, "maturity_needs_admin")
        changed = await atom.http.patch(f"/api/agents/{mature['name']}", json={"maturity": level}, headers=headers)
        refused(changed, 403, "maturity_needs_admin")
    student = await atom.http.post("/api/agents", json={"name": new_name(), "maturity": "student"}, headers=headers)
    assert student.status_code == 201
    lowered = await atom.http.patch(f"/api/agents/{mature['name']}", json={"maturity": "student"}, headers=headers)
    assert lowered.json()["maturity"] == "student"


async def test_every_change_is_a_version_and_none_is_ever_changed(atom: RunningAtom) -> None:
    name = (await create(atom))["name"]
    path = f"/api/agents/{name}"
    await atom.http.patch(path, json={"instructions": "Be brief."})
    await atom.http.patch(path, json={"tools": ["read_file"], "maturity": "intern"})
    await atom.http.patch(path, json={"model": "local"})
    await atom.http.post(f"{path}/pause")
    await atom.http.post(f"{path}/resume")
    first = await versions(atom, name)
    assert [row["version"] for row in first] == [6, 5, 4, 3, 2, 1]
    assert [row["definition"]["status"] for row in first] == [
        "active",
        "paused",
        "active",
        "active",
        "active",
        "active",
    ]
    assert [row["definition"]["model"] for row in first] == ["local", "local", "local", None, None, None]
    assert [row["definition"]["maturity"] for row in first] == ["intern"] * 4 + ["student"] * 2
    assert {row["changed_by"] for row in first} == {"admin:admin"}
    freed = (await atom.http.patch(path, json={"model": ""})).json()
    assert (freed["model"], freed["version"]) == (None, 7)
    assert (await versions(atom, name))[1:] == first
    pages, after = [], ""
    while True:
        page = (await atom.http.get(f"{path}/versions?limit=3{after}")).json()
        pages += page["items"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert pages == await versions(atom, name)


async def test_what_changes_nothing_is_no_version(atom: RunningAtom) -> None:
    made = await create(atom, tools=["read_file"])
    path = f"/api/agents/{made['name']}"
    same = {"instructions": made["instructions"], "tools": ["read_file"], "model": None, "maturity": "student"}
    for body in ({}, same, {"model": ""}, {"instructions": None, "tools": None}):
        assert (await atom.http.patch(path, json=body)).json() == made
    assert (await atom.http.post(f"{path}/resume")).json() == made
    assert len(await versions(atom, made["name"])) == 1


async def test_changes_at_the_same_time_lose_nothing(atom: RunningAtom) -> None:
    name = (await create(atom))["name"]
    path = f"/api/agents/{name}"
    changes: list[dict[str, Any]] = [{"instructions": f"Version of writer {number}."} for number in range(10)]
    changes += [{"tools": ["read_file"]}, {"model": "local"}, {"maturity": "intern"}]
    answers = await asyncio.gather(*(atom.http.patch(path, json=change) for change in changes))
    assert {answer.status_code for answer in answers} == {200}
    final = (await atom.http.get(path)).json()
    assert (final["tools"], final["model"], final["maturity"]) == (["read_file"], "local", "intern")
    rows = await versions(atom, name)
    assert [row["version"] for row in rows] == list(range(14, 0, -1))
    assert {row["definition"]["instructions"] for row in rows} >= {change["instructions"] for change in changes[:10]}
    for older, newer in zip(rows[1:], rows, strict=False):
        changed = [key for key in newer["definition"] if newer["definition"][key] != older["definition"][key]]
        assert len(changed) == 1, "each version has one writer's change, on top of all before it"


async def test_retiring_is_for_good(atom: RunningAtom) -> None:
    name = (await create(atom))["name"]
    path = f"/api/agents/{name}"
    retired = (await atom.http.post(f"{path}/retire")).json()
    assert retired["status"] == "retired"
    assert (await atom.http.post(f"{path}/retire")).json() == retired
    for answer in (
        await atom.http.post(f"{path}/resume"),
        await atom.http.post(f"{path}/pause"),
        await atom.http.patch(path, json={"instructions": "Come back."}),
        await atom.http.patch(path, json={}),
    ):
        refused(answer, 409, "agent_retired")
    refused(await atom.http.post(f"{path}/runs", json={"task": "Go."}), 409, "agent_not_active")
    refused(await atom.http.post("/api/agents", json={"name": name}), 409, "agent_exists")
    assert len(await versions(atom, name)) == 2


async def test_a_list_that_grows_is_paged_without_gap_or_repetition(atom: RunningAtom) -> None:
    for _ in range(7):
        await create(atom)
    before = [item["id"] for item in (await atom.http.get("/api/agents?limit=200")).json()["items"]]
    assert before == sorted(before, reverse=True)
    seen: list[str] = []
    after: str | None = None
    while True:
        page = (await atom.http.get("/api/agents", params={"limit": 2, **({"after": after} if after else {})})).json()
        seen += [item["id"] for item in page["items"]]
        await create(atom)  # somebody else goes on working
        after = page["next"]
        if after is None:
            break
    assert seen == before
    paused = (await create(atom))["name"]
    await atom.http.post(f"/api/agents/{paused}/pause")
    listed = (await atom.http.get("/api/agents?status=paused")).json()["items"]
    assert paused in {item["name"] for item in listed}
    assert {item["status"] for item in listed} == {"paused"}


async def test_a_cursor_of_nothing_that_exists_is_still_a_place_in_the_list(atom: RunningAtom) -> None:
    await create(atom)
    oldest = (await atom.http.get("/api/agents?after=00000000-0000-7000-8000-000000000000")).json()
    assert oldest == {"items": [], "next": None}
    newest = (await atom.http.get("/api/agents?limit=1&after=ffffffff-ffff-7fff-bfff-ffffffffffff")).json()
    assert newest["items"] == (await atom.http.get("/api/agents?limit=1")).json()["items"]
    for cursor in ("x", "1", "FFFFFFFFFFFF7FFFBFFFFFFFFFFFFFFF", "%00", ""):
        refused(await atom.http.get(f"/api/agents?after={cursor}"), 422, "invalid_input")


async def test_every_change_is_an_event_without_the_instructions(atom: RunningAtom) -> None:
    made = await create(atom, instructions="The password is swordfish.")
    await atom.http.post(f"/api/agents/{made['id']}/pause")
    async with asyncio.timeout(10):
        while True:
            told = [
                event
                for event in await atom.atom.parts.base.reader.after(0, limit=1000)
                if str(event.agent_id) == made["id"]
            ]
            if len(told) == 2:
                break
            await asyncio.sleep(0.02)
    assert [(event.type, event.actor, event.data["version"]) for event in told] == [
        ("agent.created", "admin:admin", 1),
        ("agent.changed", "admin:admin", 2),
    ]
    assert "swordfish" not in str(told)
