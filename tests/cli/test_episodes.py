"""Memory at the command line, run in this process against a whole Atom."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rich.console import Console
from sqlalchemy import URL

from atom.cli.app import run
from atom.cli.memory_chart import print_stats
from atom.cli.output import Output
from atom.client.episodes import AgeStats, MemoryStats, TierStats
from atom.llm.testing import ScriptedModel
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.cli.conftest import Result

Said = Callable[..., Awaitable[Result]]
CHATS = "\n".join(
    json.dumps({"title": f"Chat {number}", "turns": [
        {"speaker": "Ann", "text": f"Where is key {number}?", "at": "2026-05-04T09:00:00Z"},
        {"speaker": "Ben", "text": "In the blue cabinet.", "at": "2026-05-04T09:01:00Z"},
    ]})
    for number in range(3)
)  # fmt: skip


@pytest_asyncio.fixture
async def atom(database: URL, home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningAtom]:
    async with running_atom(settings_for_tests(home), database, ScriptedModel("one")) as found:
        monkeypatch.setenv("ATOM_URL", found.url)
        monkeypatch.setenv("ATOM_TOKEN", found.token)
        await found.agent("guide")
        yield found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    async def command(*argv: str, code: int = 0) -> Result:
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"")))
        capsys.readouterr()
        ended = await asyncio.to_thread(run, argv)
        captured = capsys.readouterr()
        assert ended == code, captured
        return Result(ended, captured.out, captured.err)

    return command


def parsed(out: str) -> Any:
    """Without the log lines of the server, which runs in the same process here."""
    return json.loads("\n".join(line for line in out.splitlines() if not line.startswith("20")))


async def test_a_file_is_imported_once(atom: RunningAtom, say: Said, tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text(CHATS, encoding="utf-8")
    first = parsed((await say("episodes", "import", "guide", str(file), "--json")).out)
    again = parsed((await say("episodes", "import", "guide", str(file), "--json")).out)
    assert (first, again) == (
        {"episodes": 3, "created": 3, "known": 0},
        {"episodes": 3, "created": 0, "known": 3},
    )
    listed = parsed((await say("episodes", "list", "--agent", "guide", "--json")).out)["items"]
    assert [one["title"] for one in listed] == ["Chat 2", "Chat 1", "Chat 0"]
    assert {one["source"] for one in listed} == {"import"}
    assert listed[0]["provenance"]["file"] == "chats.jsonl"
    assert listed[0]["labels"] == ["untrusted"]


async def test_search_show_rate_and_stats(atom: RunningAtom, say: Said, tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text(CHATS, encoding="utf-8")
    await say("episodes", "import", "guide", str(file))
    hits = parsed((await say("episodes", "search", "guide", "key 1", "--json")).out)["items"]
    assert hits[0]["text"] == "Where is key 1?"
    table = (await say("episodes", "search", "guide", "key 1")).out
    assert "bm25" in table
    assert "Where is key 1?" in table
    assert "QUERY: is empty" in (await say("episodes", "search", "guide", " ", code=2)).err
    by_time = parsed((await say("episodes", "search", "guide", "--since", "2026-05-04T09:01Z", "--json")).out)["items"]
    assert {hit["text"] for hit in by_time} == {"In the blue cabinet."}
    shown = (await say("episodes", "show", hits[0]["episode_id"])).out
    assert "Where is key 1?\n" in shown
    assert "0.75" in (await say("episodes", "rate", hits[0]["episode_id"], "1")).out
    corrected = (await say("episodes", "correct", hits[0]["episode_id"], "Key 1 is in the red cabinet.")).out
    assert "3 segments" in corrected
    assert "speaker" in (await say("episodes", "search", "guide", "What did Ann say?")).out
    around = parsed((await say("episodes", "search", "guide", "--around", "2026-05-04T09:00Z", "--json")).out)["items"]
    assert around[0]["at"].startswith("2026-05-04T09:00")
    assert "--around" in (await say("episodes", "search", "guide", "key", "--around", "2026-05-04T09:00Z", code=2)).err
    stats = (await say("episodes", "stats", "--agent", "guide")).out
    assert "hot" in stats
    assert "##" in stats


def much(count: int) -> str:
    said = "The nightly backup of the shop is on cobalt. " * 20
    return "\n".join(
        json.dumps({"title": f"Backup {number}", "turns": [
            {"speaker": "Ann", "text": f"{said} {number}", "at": f"2025-05-{number % 28 + 1:02}T09:00:00Z"}
        ]})
        for number in range(count)
    )  # fmt: skip


async def test_old_episodes_are_consolidated_and_split(atom: RunningAtom, say: Said, tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text(much(101), encoding="utf-8")
    await say("episodes", "import", "guide", str(file))
    foreseen = parsed((await say("episodes", "consolidate", "--agent", "guide", "--dry-run", "--json")).out)["report"]
    assert (foreseen["episodes"] + foreseen["alone"], foreseen["dry_run"]) == (51, True)
    told = (await say("episodes", "consolidate")).out
    assert "bytes_freed" in told
    [first, *_] = parsed((await say("episodes", "list", "--source", "consolidation", "--json")).out)["items"]
    shown = (await say("episodes", "show", first["id"])).out
    assert "decay score" in shown
    back = (await say("episodes", "split", first["id"])).out
    assert f"{first['id']} is split: {len(first['provenance']['sources'])} episodes are back" in back
    stats = (await say("episodes", "stats")).out
    assert "warm" in stats
    assert "365" in stats, "how old they are"


def test_the_chart_has_a_bar_for_each_tier_and_age() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100, color_system=None)
    tiers = {"hot": TierStats(episodes=2, segments=4, bytes=1_000), "warm": TierStats(episodes=9, bytes=4_000)}
    ages = (AgeStats(tier="warm", days=365, episodes=9, bytes=40_000), AgeStats(tier="hot", days=0, bytes=2_000))
    print_stats(Output(False, console, console), MemoryStats(tiers=tiers, ages=ages))  # noqa: FBT003
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    bars = {line.split("  ")[0].split("\u2588")[0].strip(): line.count("\u2588") for line in lines if "\u2588" in line}
    assert bars == {"hot": 10, "warm": 40, "younger (hot)": 2, "365 days and older (warm)": 40}


async def test_a_file_that_is_no_transcript_is_refused_before_anything_is_written(
    atom: RunningAtom, say: Said, tmp_path: Path
) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text(CHATS + "\n{oops", encoding="utf-8")
    told = await say("episodes", "import", "guide", str(file), code=2)
    assert "line 4" in told.err
    assert parsed((await say("episodes", "list", "--json")).out)["items"] == []


async def test_archive_restore_policy_and_forget(atom: RunningAtom, say: Said, tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text(CHATS, encoding="utf-8")
    await say("episodes", "import", "guide", str(file))
    dry = parsed((await say("episodes", "archive", "--dry-run", "--json")).out)["report"]
    assert (dry["episodes"], dry["examples"][0]["agent"]) == (3, "guide")
    done = parsed((await say("episodes", "archive", "--agent", "guide", "--json")).out)["report"]
    assert (done["episodes"], done["bytes_freed"]) == (3, dry["bytes"])
    listed = parsed((await say("episodes", "list", "--tier", "cold", "--json")).out)["items"]
    assert "cold" in (await say("episodes", "list")).out
    first = listed[0]["id"]
    assert "Which ones?" in (await say("episodes", "restore", code=2)).err
    assert parsed((await say("episodes", "restore", first, "--json")).out)["report"]["episodes"] == 1
    assert "completed" in (await say("episodes", "restore", "--all")).out
    assert "Case 7" in (await say("episodes", "policy", "guide", "--hold", "Case 7", "--retention-days", "90")).out
    refused = await say("episodes", "forget", first, "--reason", "asked for", "--yes", code=1)
    assert "legal hold" in refused.err
    rules = parsed((await say("episodes", "policy", "guide", "--no-hold", "--json")).out)
    assert (rules["legal_hold"], rules["retention_days"]) == (False, 90)
    await say("episodes", "forget", first, "--reason", "asked for", code=1)  # nobody answers the question
    assert len(parsed((await say("episodes", "list", "--json")).out)["items"]) == 3
    assert "is forgotten" in (await say("episodes", "forget", first, "--reason", "asked for", "--yes")).out
    assert len(parsed((await say("episodes", "list", "--json")).out)["items"]) == 2


async def test_an_export_is_imported_as_it_was_from_any_tier(atom: RunningAtom, say: Said, tmp_path: Path) -> None:
    odd = {
        "speaker": "Ann",
        "text": "A \u2028 line, \x85, 漢字 and 🦉.",
        "at": "2026-05-04T09:00:00.123456Z",
        "ref": "D1",
    }
    turns = [odd, {"speaker": "Ben", "text": "long " * 5_000, "at": "2026-05-04T09:02:00Z", "kind": "reply"}]
    body = {"agent": "guide", "turns": turns, "title": "Odd", "labels": [], "outcome": "success", "importance": 0.9}
    answer = await atom.http.post("/api/episodes", json=body)
    assert answer.status_code == 201, answer.text
    await say("episodes", "archive")
    file = tmp_path / "export.jsonl"
    file.write_text(_json_lines((await say("episodes", "export", "--agent", "guide")).out), encoding="utf-8")
    await atom.agent("heir")
    assert "1 imported" in (await say("episodes", "import", "heir", str(file), "--keep-labels")).out
    assert "1 known" in (await say("episodes", "import", "heir", str(file), "--keep-labels")).out
    [one, two] = [
        json.loads(_json_lines((await say("episodes", "export", "--agent", name)).out)) for name in ("guide", "heir")
    ]
    for name in ("turns", "title", "summary", "labels", "outcome", "importance", "ref"):
        assert one[name] == two[name], name
    assert "".join(turn["text"] for turn in two["turns"][1:]) == "long " * 5_000
    await atom.agent("stranger")
    await say("episodes", "import", "stranger", str(file))
    third = json.loads(_json_lines((await say("episodes", "export", "--agent", "stranger")).out))
    assert third["labels"] == ["untrusted"], "nobody vouched for the file"


def _json_lines(out: str) -> str:
    """Without the log lines of the server, which runs in the same process here."""
    return "\n".join(line for line in out.split("\n") if line.startswith("{"))
