"""Audit over REST and from the command line, on a whole Atom."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, text
from structlog.testing import capture_logs

from atom.cli.app import run
from atom.governance import store as entries
from atom.infra.db import Sessions, unit_of_work
from atom.llm.testing import ScriptedModel, call
from atom.settings import AuditSettings
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.governance.audit.conftest import values, write
from tests.support.planted import with_keys
from tests.support.polling import eventually

Cli = Callable[..., Awaitable[tuple[int, str, str]]]
ODD = {"price": 1.10, "text": '\u2028 \u00e9 "\\" \x7f', "deep": [{"b": None, "a": [True, -1e-7]}]}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    async def command(atom: RunningAtom, *argv: str) -> tuple[int, str, str]:
        monkeypatch.setenv("ATOM_URL", atom.url)
        monkeypatch.setenv("ATOM_TOKEN", atom.token)
        capsys.readouterr()
        with capture_logs():  # the server of this process logs to the same stdout
            code = await asyncio.to_thread(run, argv)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


async def fill(sessions: Sessions) -> None:
    """Some rows, one with numbers that a float would round."""
    await write(sessions, 3)
    async with unit_of_work(sessions) as session:
        await entries.audit(session, values(4, actor="admin:ann", decision="approved", data=ODD))
        await session.execute(
            text(
                "INSERT INTO audit_entry (id, actor, action, decision, reason, data)"
                " VALUES (gen_random_uuid(), 'p', 'x', 'allow', 'r',"
                ' \'{"big": 12345678901234567890.12345678901234567890, "z": 1.500}\')'
            )
        )


async def tamper(superuser: Sessions, *statements: str) -> None:
    async with unit_of_work(superuser) as session:
        for table in ("audit_entry", "audit_link"):
            await session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER {table}_append_only"))
        for statement in statements:
            await session.execute(text(statement))


async def test_what_an_agent_does_is_on_the_chain(
    database: URL, home: Path, superuser: Sessions, cli: Cli, tmp_path: Path
) -> None:
    """A run is audited, listed, anchored, exported and verified; then somebody edits a row."""

    model = ScriptedModel((call("calculate", expression="6*7"),), "It is 42.")
    settings = settings_for_tests(home, audit=AuditSettings(anchor_seconds=0.2))
    async with running_atom(settings, database, model) as atom:
        await atom.agent("worker", tools=["calculate"])
        done = await atom.done("worker", "What is 6*7?")
        await fill(atom.atom.parts.base.sessions)

        async def anchored() -> bool:
            lines = (await atom.http.get("/api/audit/anchors")).json()["items"]
            return bool(lines) and json.loads(lines[-1])["seq"] == 6

        await eventually(anchored)
        code, out, _ = await cli(atom, "audit", "list", "--json", "--run", done["id"])
        (listed,) = json.loads(out)["items"]
        assert (code, listed["action"], listed["decision"], listed["seq"]) == (0, "calculate", "allow", 1)
        code, out, _ = await cli(atom, "audit", "list", "--actor", "admin:ann")
        assert (code, len(out.splitlines()), "approved" in out) == (0, 2, True)
        code, out, err = await cli(atom, "audit", "verify")
        assert (code, "whole: 6 rows (seq 1 to 6)" in out, "came from the server itself" in err) == (0, True, True)

        anchors, public, exported = tmp_path / "a.jsonl", tmp_path / "audit.pub", tmp_path / "x.jsonl"
        anchors.write_bytes((home / "audit-anchors.jsonl").read_bytes())
        assert (await cli(atom, "audit", "key", "-o", str(public)))[0] == 0
        code, out, _ = await cli(atom, "audit", "export", "--json", "-o", str(exported))
        assert (code, json.loads(out)) == (0, {"file": str(exported), "rows": 6})
        assert (await cli(atom, "audit", "export", "--json"))[0] == 2
        own = ("--anchors", str(anchors), "--public-key", str(public))
        code, out, err = await cli(atom, "audit", "verify", "--json", *own)
        found = json.loads(out)
        assert (code, found["ok"], found["rows"], found["notes"]) == (0, True, 6, [])
        assert found["anchors"] >= 1

        await tamper(superuser, "UPDATE audit_entry SET decision = 'allow' WHERE actor = 'admin:ann'")
        code, out, _ = await cli(atom, "audit", "verify", *own)
        assert (code, "edited at seq 5: It is not what was sealed." in out) == (1, True)
        assert (await cli(atom, "audit", "verify", "--from", "6"))[0] == 0

    code, out, _ = await cli(atom, "audit", "verify", "--file", str(exported), *own)  # nobody answers any more
    assert (code, "whole: 6 rows" in out) == (0, True)
    lines = exported.read_text("utf-8").rstrip("\n").split("\n")
    for name, changed, wanted in (
        ("edit", [line.replace("admin:ann", "admin:bob") for line in lines], "edited at seq 5"),
        ("delete", [*lines[:3], *lines[4:]], "deleted at seq 3"),
        ("reorder", [*lines[:3], lines[4], lines[3], *lines[5:]], "reordered at seq 3"),
        ("cut", lines[:-1], "truncated at seq 6"),
        ("nonsense", [*lines[:3], "nonsense", *lines[3:]], "unreadable at seq 3"),
        ("stray", [*lines, lines[1].replace('"seq":1', '"seq":null')], "inserted at seq 6"),
    ):
        exported.write_text("\n".join(changed) + "\n", encoding="utf-8")
        code, out, _ = await cli(atom, "audit", "verify", "--file", str(exported), *own)
        assert (code, wanted in out) == (1, True), (name, out)


async def test_a_part_of_the_chain_is_exported_and_verified(
    database: URL, home: Path, cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "part.jsonl"
    async with running_atom(with_keys(settings_for_tests(home)), database) as atom:
        sessions = atom.atom.parts.base.sessions
        await fill(sessions)
        async with unit_of_work(sessions) as session:
            middle = (
                await session.execute(text("SELECT at FROM audit_entry WHERE data ->> 'number' = '2'"))
            ).scalar_one()
        code, _, _ = await cli(atom, "audit", "export", "--since", middle.isoformat(), "-o", str(file))
        assert code == 0
        assert [json.loads(line)["seq"] for line in file.read_text("utf-8").rstrip("\n").split("\n")[1:]] == [
            2,
            3,
            4,
            5,
        ]
        code, out, _ = await cli(atom, "audit", "verify", "--file", str(file))
        assert (code, "4 rows (seq 2 to 5)" in out) == (0, True)
        code, out, _ = await cli(atom, "audit", "export", "--until", middle.isoformat())
        assert [json.loads(line).get("seq") for line in out.rstrip("\n").split("\n")[1:]] == [1]
        code, out, _ = await cli(atom, "audit", "export", "--since", "2999-01-01")
        assert (code, len(out.splitlines())) == (0, 1)
        for wrong in (
            ("export", "--since", "yesterday"),
            ("verify", "--file", str(home)),
            ("verify", "--anchors", "/no"),
        ):
            assert (await cli(atom, "audit", *wrong))[0] in {2, 3}
        file.write_text("{}\n", encoding="utf-8")
        assert (await cli(atom, "audit", "verify", "--file", str(file)))[0] == 2


async def test_a_restore_is_resealed_by_an_admin(database: URL, home: Path, superuser: Sessions, cli: Cli) -> None:
    settings = settings_for_tests(home, audit=AuditSettings(anchor_seconds=0.2))
    async with running_atom(settings, database) as atom:
        await write(atom.atom.parts.base.sessions, 6)

        async def anchored() -> bool:
            return bool((await atom.http.get("/api/audit/anchors")).json()["items"])

        await eventually(anchored)
        early = json.loads((await atom.http.get("/api/audit/anchors")).json()["items"][-1])["seq"]
        await tamper(
            superuser,
            f"DELETE FROM audit_entry WHERE id IN (SELECT entry_id FROM audit_link WHERE seq >= {early})",
            f"DELETE FROM audit_link WHERE seq >= {early}",
        )
        code, out, _ = await cli(atom, "audit", "verify")
        assert (code, f"The chain ends at seq {early - 1}, the anchor says" in out) == (1, True)
        refused = await atom.http.post("/api/audit/reseal", json={"reason": " "})
        assert (refused.status_code, refused.json()["code"]) == (422, "audit_reason_missing")
        code, out, _ = await cli(atom, "audit", "reseal", "--yes", "--reason", "restored")
        assert (code, f"Resealed at seq {early}" in out) == (0, True)
        code, out, err = await cli(atom, "audit", "verify")
        assert (code, "whole" in out, "restored" in err) == (0, True, True)
        code, _, err = await cli(atom, "audit", "reseal", "--yes", "--reason", "again")
        assert (code, "audit_nothing_to_reseal" in err) == (1, True)
        code, out, _ = await cli(atom, "audit", "list", "--action", "audit.reseal", "--json")
        assert [one["actor"] for one in json.loads(out)["items"]] == ["admin:admin"]


async def test_lists_go_on_behind_a_cursor_and_filters_hold(database: URL, home: Path) -> None:
    async with running_atom(with_keys(settings_for_tests(home)), database) as atom:
        await fill(atom.atom.parts.base.sessions)

        async def listed(**query: Any) -> list[Any]:
            answer = await atom.http.get("/api/audit", params=query)
            assert answer.status_code == 200, answer.text
            return [one["seq"] for one in answer.json()["items"]]

        seen, after = [], None
        for _ in range(3):
            page = (await atom.http.get("/api/audit", params={"limit": 2} | ({"after": after} if after else {}))).json()
            seen += [one["seq"] for one in page["items"]]
            after = page["next"]
        assert sorted(seen) == [1, 2, 3, 4, 5]
        assert await listed(actor="admin:ann") == [4]
        assert await listed(decision="approved", action="write_file") == [4]
        assert await listed(agent_id="01a20a0d-8e88-7117-9c08-46edfd98777f") == []
        assert await listed(until="2000-01-01T00:00:00Z") == []
        assert len(await listed(since="2000-01-01T00:00:00Z")) == 5
        naive = await atom.http.get("/api/audit", params={"since": "2000-01-01T00:00:00"})
        assert (naive.status_code, naive.json()["code"]) == (422, "invalid_input")
        pages = [(await atom.http.get("/api/audit/chain", params={"limit": 2, "after": n})).json() for n in (0, 2, 4)]
        assert [[row["seq"] for row in page["items"]] for page in pages] == [[1, 2], [3, 4], [5]]
        assert [page["next"] for page in pages] == ["2", "4", None]
        assert {page["head"] for page in pages} == {5}
        assert '"big":12345678901234567890.1234567890123456789,' in (await atom.http.get("/api/audit/chain")).text
