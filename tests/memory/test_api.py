"""Episodes over HTTP: written, listed, read, recalled and rated, by whoever may."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from atom.web.testing import RunningAtom

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]
TURNS = [
    {"speaker": "Ann", "text": "Where is the backup key?", "at": "2026-05-04T09:00:00Z", "ref": "D1:1"},
    {"speaker": "Ben", "text": "In the blue cabinet.", "at": "2026-05-04T09:01:00Z"},
]


async def write(atom: RunningAtom, *, status: int = 201, **fields: Any) -> dict[str, Any]:
    answer = await atom.http.post("/api/episodes", json={"agent": "worker", "turns": TURNS, **fields})
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def get(atom: RunningAtom, path: str) -> Any:
    answer = await atom.http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_written_listed_read_and_recalled(start: Start) -> None:
    async with start() as atom:
        await atom.agent()
        written = await write(atom, title="Keys", outcome="success", provenance={"chat": 7})
        [listed] = (await get(atom, "/api/episodes?agent=worker&outcome=success"))["items"]
        shown = await get(atom, f"/api/episodes/{written['id']}")
        assert listed == shown
        assert (shown["title"], shown["source"], shown["labels"], shown["storage_tier"], shown["segments"]) == (
            "Keys", "api", ["untrusted"], "hot", 2,
        )  # fmt: skip
        assert shown["provenance"]["chat"] == 7
        turns = (await get(atom, f"/api/episodes/{written['id']}/segments"))["items"]
        assert [(turn["speaker"], turn["text"], turn["ref"]) for turn in turns] == [
            ("Ann", "Where is the backup key?", "D1:1"),
            ("Ben", "In the blue cabinet.", ""),
        ]
        answer = await atom.http.post("/api/episodes/recall", json={"agent": "worker", "query": "backup key"})
        recalled = answer.json()
        assert (recalled["items"][0]["text"], recalled["items"][0]["terms"], recalled["words_only"]) == (
            "Where is the backup key?", ["backup", "key"], "no_embedder",
        )  # fmt: skip
        assert recalled["labels"] == ["untrusted"]
        assert (await get(atom, f"/api/episodes/{written['id']}"))["access_count"] == 1


async def test_the_same_ref_is_one_episode(start: Start) -> None:
    async with start() as atom:
        await atom.agent()
        first = await write(atom, ref="chat-1")
        again = await write(atom, ref="chat-1", status=200)
        assert (again["id"], first["created"], again["created"]) == (first["id"], True, False)


async def test_pages_show_each_episode_and_each_turn_once(start: Start) -> None:
    async with start() as atom:
        await atom.agent()
        ids = [(await write(atom))["id"] for _ in range(5)]
        seen: list[str] = []
        after: Any = ""
        while after is not None:
            page = await get(atom, f"/api/episodes?limit=2{after and f'&after={after}'}")
            seen += [one["id"] for one in page["items"]]
            after = page["next"]
        assert seen == ids[::-1]
        first = await get(atom, f"/api/episodes/{ids[0]}/segments?limit=1")
        second = await get(atom, f"/api/episodes/{ids[0]}/segments?limit=1&after={first['next']}")
        assert ([turn["position"] for turn in (*first["items"], *second["items"])], second["next"]) == ([0, 1], None)
        assert (await atom.http.get(f"/api/episodes/{ids[0]}/segments?after=x")).status_code == 422


async def test_feedback_and_stats(start: Start) -> None:
    async with start() as atom:
        await atom.agent()
        written = await write(atom)
        answer = await atom.http.post(f"/api/episodes/{written['id']}/feedback", json={"feedback": 1, "note": "yes"})
        assert (answer.json()["feedback"], answer.json()["importance"]) == (1, 0.75)
        corrections = f"/api/episodes/{written['id']}/corrections"
        corrected = (await atom.http.post(corrections, json={"text": "No."})).json()
        assert (corrected["segments"], corrected["importance"]) == (3, 0.825)
        assert (await atom.http.post(corrections, json={"text": " "})).json()["code"] == "episode_invalid"
        stats = await get(atom, "/api/episodes/stats?agent=worker")
        size = sum(len(turn["text"]) for turn in TURNS)
        assert stats["tiers"]["hot"] == {"episodes": 1, "segments": 3, "bytes": size + 3}
        assert stats["tiers"]["cold"] == {"episodes": 0, "segments": 0, "bytes": 0}


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/api/episodes", {"agent": "nobody", "turns": TURNS}, "agent_not_found"),
        ("/api/episodes", {"agent": "worker", "turns": TURNS[::-1]}, "episode_invalid"),
        ("/api/episodes/recall", {"agent": "worker", "mode": "semantic"}, "recall_invalid"),
        ("/api/episodes/recall", {"agent": "nobody", "query": "x"}, "agent_not_found"),
        ("/api/episodes/0199f1c2-0000-7000-8000-000000000000/feedback", {"feedback": 0}, "episode_not_found"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_code(start: Start, path: str, body: Any, code: str) -> None:
    async with start() as atom:
        await atom.agent()
        answer = await atom.http.post(path, json=body)
        assert (answer.status_code >= 400, answer.json()["code"]) == (True, code)
