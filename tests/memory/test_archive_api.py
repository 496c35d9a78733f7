"""Archive, restore, forgetting, rules and export over HTTP, with a worker and a folder as the cold store."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from atom.kit.ids import new_id
from atom.settings import MemorySettings
from atom.web.testing import RunningAtom
from tests.memory.test_api import get, write
from tests.support.polling import eventually

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]


async def ended(atom: RunningAtom, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The report of the job that this starts."""
    answer = await atom.http.post(f"/api/episodes/{path}", json=body)
    assert answer.status_code == 202, answer.text
    url = answer.json()["status_url"]

    async def done() -> dict[str, Any] | None:
        job: dict[str, Any] = await get(atom, url)
        return job if job["status"] in {"completed", "failed"} else None

    job: dict[str, Any] = await eventually(done, 30)
    assert job["status"] == "completed", job
    report: dict[str, Any] = job["report"]
    return report


def objects(home: Path) -> list[Path]:
    return [file for file in (home / "cold").rglob("*") if file.is_file()]


async def test_without_a_body_the_whole_store_is_archived_and_comes_back(start: Start, home: Path) -> None:
    async with start() as atom:
        await atom.agent()
        written = await write(atom)
        turns = await get(atom, f"/api/episodes/{written['id']}/segments")
        dry = await ended(atom, "archive", {"dry_run": True})
        assert (dry["episodes"], dry["segments"], dry["examples"][0]["id"]) == (1, 2, written["id"])
        assert objects(home) == []
        report = await ended(atom, "archive")
        assert (report["episodes"], report["bytes_freed"], report["failed"]) == (1, dry["bytes"], {})
        assert sum(file.stat().st_size for file in objects(home)) > report["bytes_after"] > 0
        assert (await get(atom, "/api/episodes?tier=cold"))["items"][0]["id"] == written["id"]
        stats = await get(atom, "/api/episodes/stats")
        assert (stats["tiers"]["hot"]["episodes"], stats["tiers"]["cold"]["bytes"]) == (0, report["bytes_after"])
        assert await get(atom, f"/api/episodes/{written['id']}/segments") == turns
        answer = await atom.http.post("/api/episodes/recall", json={"agent": "worker", "query": "backup key"})
        [hit, *_] = answer.json()["items"]
        assert (hit["text"], hit["storage_tier"], hit["body"]) == ("Where is the backup key?", "cold", "here")
        [file] = objects(home)
        content = file.read_bytes()
        file.unlink()
        answer = await atom.http.post("/api/episodes/recall", json={"agent": "worker", "query": "backup key"})
        [hit, *_] = answer.json()["items"]
        assert (hit["body"], hit["away_reason"]) == ("away", "cold_object_missing")
        refused = await atom.http.get(f"/api/episodes/{written['id']}/segments")
        assert (refused.status_code, refused.json()["code"]) == (503, "cold_object_missing")
        file.write_bytes(content)
        assert (await ended(atom, "restore", {"ids": [written["id"]]}))["episodes"] == 1
        assert await get(atom, f"/api/episodes/{written['id']}/segments") == turns


async def test_forgotten_for_a_reason_and_never_under_a_hold(start: Start, home: Path) -> None:
    async with start(memory=MemorySettings(embedder="none", cold_keep_days=0)) as atom:
        await atom.agent()
        written = await write(atom)
        await ended(atom, "archive")
        path = f"/api/episodes/{written['id']}"
        assert (await atom.http.delete(path)).status_code == 422
        held = {"legal_hold": True, "hold_reason": "Case 7", "retention_days": 30}
        set_ = await atom.http.put("/api/episodes/policies/worker", json=held)
        assert set_.status_code == 200, set_.text
        assert await get(atom, "/api/episodes/policies/worker") == set_.json() | {"agent": "worker", "decay_days": None}
        refused = await atom.http.delete(path, params={"reason": "asked for"})
        assert (refused.status_code, refused.json()["code"]) == (409, "legal_hold")
        await atom.http.put("/api/episodes/policies/worker", json={})
        gone = await atom.http.delete(path, params={"reason": "asked for"})
        assert (gone.status_code, gone.json()) == (200, {"id": written["id"], "cold_pending": True})
        assert (await atom.http.get(path)).status_code == 404
        assert (await ended(atom, "archive"))["objects_deleted"] == 1
        assert objects(home) == []


async def test_an_export_has_whole_episodes_of_any_tier_page_by_page(start: Start) -> None:
    async with start() as atom:
        await atom.agent()
        ids = [(await write(atom, title=f"Chat {number}"))["id"] for number in range(3)]
        await ended(atom, "archive")
        await ended(atom, "restore", {"ids": ids[:1]})
        found: list[dict[str, Any]] = []
        next_: list[str | None] = []
        for _ in range(3):
            after = f"&after={next_[-1]}" if next_ else ""
            page = await get(atom, f"/api/episodes/export?agent=worker&limit=1{after}")
            found, next_ = found + page["items"], [*next_, page["next"]]
        assert next_ == [ids[0], ids[1], None]
        assert [(one["id"], one["title"]) for one in found] == [(id_, f"Chat {n}") for n, id_ in enumerate(ids)]
        assert [[turn["text"] for turn in one["turns"]] for one in found] == [
            ["Where is the backup key?", "In the blue cabinet."]
        ] * 3


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "archive", None),
        ("POST", "restore", None),
        ("DELETE", "01a20a0d-8e88-7117-9c08-46edfd98777f?reason=x", None),
        ("PUT", "policies/worker", {}),
    ],
)
async def test_who_only_reads_changes_nothing(start: Start, method: str, path: str, body: Any) -> None:
    async with start() as atom:
        await atom.agent()
        made = await atom.http.post("/api/tokens", json={"name": "v", "role": "viewer"})
        token = made.json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        answer = await atom.http.request(method, f"/api/episodes/{path}", json=body, headers=headers)
        assert answer.status_code == 403, answer.text


async def test_what_is_asked_wrongly_is_told_by_its_field(start: Start) -> None:
    async with start() as atom:
        await atom.agent()
        assert (await atom.http.post("/api/episodes/archive", json={"agent": "nobody"})).status_code == 404
        assert (await atom.http.post("/api/episodes/archive", json={"older_than_days": -1})).status_code == 422
        assert (await atom.http.post("/api/episodes/restore", json={"ids": []})).status_code == 422
        unknown = await atom.http.post("/api/episodes/restore", json={"ids": [str(new_id())]})
        assert (unknown.status_code, unknown.json()["code"]) == (404, "episode_not_found")
        assert (await atom.http.get("/api/episodes/export?after=x")).status_code == 422
