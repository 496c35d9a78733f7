"""The command `atom` as a person uses it, against a whole Atom: real HTTP, real database, a scripted model."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import URL

from atom import __version__
from atom.llm.ports import ChatModel
from atom.llm.testing import ScriptedModel, call
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.gated import Gate, GatedModel
from tests.support.shell import Shell, read_until

ANSWER = "The pool has 20 connections (notes.txt:2)."
NOTES = "Settings\npool_size = 20\n"


@asynccontextmanager
async def served(database: URL, home: Path, model: ChatModel | None = None) -> AsyncIterator[tuple[RunningAtom, Shell]]:
    async with running_atom(settings_for_tests(home), database, model) as atom:
        yield atom, Shell(home, atom.url, atom.token)


def give_notes(atom: RunningAtom, agent_id: str) -> None:
    (atom.folder(agent_id) / "notes.txt").write_text(NOTES)


async def the_run(atom: RunningAtom) -> str:
    """The id of the newest run."""
    async with asyncio.timeout(20):
        while not (items := (await atom.http.get("/api/runs")).json()["items"]):
            await asyncio.sleep(0.02)
    return str(items[0]["id"])


async def test_the_answer_is_printed_as_it_is_produced_and_whole(database: URL, home: Path) -> None:
    first, second = Gate(), Gate()
    model = GatedModel(
        ["Let me ", first, "look.", call("read_file", path="notes.txt")],
        ["The pool has ", second, "20 connections (notes.txt:2)."],
    )
    async with served(database, home, model) as (atom, shell):
        agent = (await shell("agents", "create", "reader", "--tools", "read_file", "--json")).json()
        give_notes(atom, agent["id"])
        async with shell.start("run", "reader", "How large is the pool?") as process:
            assert process.stdout is not None
            shown = await read_until(process.stdout, "Let me ")
            assert not first.open.is_set()
            first.open.set()
            shown += await read_until(process.stdout, "The pool has ")
            run = await atom.run(await the_run(atom))
            assert [step["key"] for step in await atom.steps(run["id"])] == ["turn-0", "turn-0.call-0"]
            second.open.set()
            rest, err = await asyncio.wait_for(process.communicate(), 20)
        assert (process.returncode, err) == (0, b"")
        lines = (shown + rest.decode()).splitlines()
        assert lines[0] == "model: scripted/scripted"
        assert lines[2:] == [
            "Let me look.",
            '-> read_file path="notes.txt"',
            "<- notes.txt:1: Settings",
            "   notes.txt:2: pool_size = 20",
            ANSWER,
            "",
            "Sources:",
            "notes.txt:2: pool_size = 20",
            "",
            f"Journal: atom runs show {run['id']}",
            f'Go on: atom run reader --conversation {run["conversation_id"]} "..."',
        ]


async def test_a_run_is_given_files_followed_again_and_shown(database: URL, home: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text(NOTES)
    async with served(database, home, ScriptedModel("It says 20.", "Once more: 20.", "Third.")) as (_, shell):
        await shell("agents", "create", "reader")
        run = (await shell("run", "reader", "How large?", "--file", str(notes), "--json")).json()
        assert (run["status"], run["answer"], run["agent"]) == ("completed", "It says 20.", "reader")
        assert run["files"][0].endswith("notes.txt")
        assert [step["key"] for step in run["steps"]] == ["turn-0"]
        again = await shell("run", "reader", "-", "--conversation", run["conversation_id"], stdin=b"And again?")
        assert "Once more: 20." in again.out
        followed, shown, as_json, listed = await asyncio.gather(
            shell("runs", "follow", run["id"]),
            shell("runs", "show", run["id"]),
            shell("runs", "show", run["id"], "--json"),
            shell("runs", "list", "--agent", "reader", "--status", "completed", "--limit", "1", "--json"),
        )
        assert followed.out.splitlines()[0] == "task: How large?"
        assert followed.out.count("It says 20.") == 1
        assert "Answer:\nIt says 20." in shown.out
        assert "1   model  scripted  done" in shown.out
        assert as_json.json() == run
        assert len(listed.json()["items"]) == 1
        older = await shell("runs", "list", "--after", listed.json()["next"])
        assert older.out.splitlines()[1].startswith(run["id"])
        quick = (await shell("run", "reader", "Go.", "--no-wait", "--json")).json()
        assert set(quick) == {"id"}


async def test_a_run_that_is_cancelled_ends_the_view_of_it(database: URL, home: Path) -> None:
    gate = Gate()
    async with served(database, home, GatedModel(["I begin", gate])) as (atom, shell):
        await shell("agents", "create", "slow")
        async with shell.start("run", "slow", "Take your time.") as process:
            assert process.stdout is not None
            await read_until(process.stdout, "I begin")
            run_id = await the_run(atom)
            cancelled = await shell("runs", "cancel", run_id)
            out, err = await asyncio.wait_for(process.communicate(), 20)
        assert cancelled.out.startswith(run_id)
        assert process.returncode == 1
        assert b"The run was cancelled." in err
        assert f"Journal: atom runs show {run_id}" in out.decode()
        assert "has ended (cancelled)" not in (await shell("runs", "cancel", run_id)).err, (
            "cancelling twice is no error"
        )
        assert (await shell("runs", "show", run_id, "--json")).json()["status"] == "cancelled"


async def test_ctrl_c_leaves_the_run_going(database: URL, home: Path) -> None:
    gate = Gate()
    async with served(database, home, GatedModel(["I begin", gate, " and end."])) as (atom, shell):
        await shell("agents", "create", "slow")
        async with shell.start("run", "slow", "Take your time.") as process:
            assert process.stdout is not None
            await read_until(process.stdout, "I begin")
            process.send_signal(signal.SIGINT)
            _, err = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 130
        run_id = await the_run(atom)
        assert f"atom runs follow {run_id}" in err.decode()
        gate.open.set()
        assert (await atom.settled(run_id))["answer"] == "I begin and end."


async def test_an_agent_from_its_creation_to_its_end(database: URL, home: Path) -> None:
    async with served(database, home) as (_, shell):
        made = (await shell("agents", "create", "guide", "--tools", "read_file,calculate", "--json")).json()
        assert (made["name"], made["maturity"], made["status"], made["version"]) == ("guide", "student", "active", 1)
        changed = await shell("agents", "update", "GUIDE", "--maturity", "intern", "--model", "local", "--json")
        assert (changed.json()["maturity"], changed.json()["model"]) == ("intern", "local")
        await shell("agents", "update", "guide", "--tools", "", "--instructions", "Be brief.")
        freed = (await shell("agents", "update", made["id"], "--model", "", "--json")).json()
        assert (freed["model"], freed["tools"], freed["version"]) == (None, [], 4)
        paused = await shell("agents", "pause", "guide")
        assert "status        paused" in paused.out
        refused = await shell("run", "guide", "Go.", code=1)
        assert "code: agent_not_active" in refused.err
        await shell("agents", "resume", "guide")
        await shell("agents", "retire", "guide", "--yes")
        final = await shell("agents", "resume", "guide", code=1)
        assert "code: agent_retired" in final.err
        versions, listed, shown, tools = await asyncio.gather(
            shell("agents", "versions", "guide"),
            shell("agents", "list", "--status", "retired"),
            shell("agents", "show", "guide"),
            shell("agents", "tools"),
        )
        rows = [line.split() for line in versions.out.splitlines()[1:]]
        assert [row[0] for row in rows] == ["7", "6", "5", "4", "3", "2", "1"]
        assert [row[3] for row in rows] == ["retired", "active", "paused", "active", "active", "active", "active"]
        assert rows[-1][4:7] == ["student", "-", "read_file,calculate"]
        assert "admin:admin" in versions.out
        assert listed.out.splitlines()[1].split()[:4] == ["guide", "retired", "intern", "7"]
        assert "instructions  Be brief." in shown.out
        assert "delete_file" in tools.out
        assert "irreversible" in tools.out


async def test_tokens_are_made_used_listed_and_revoked(database: URL, home: Path) -> None:
    async with served(database, home) as (atom, shell):
        made = (await shell("token", "create", "ci", "--role", "viewer", "--expires-days", "1", "--json")).json()
        viewer = Shell(home, atom.url, made["token"])
        assert (await viewer("agents", "list", "--json")).json() == {"items": [], "next": None}
        assert "code: permission_missing" in (await viewer("agents", "create", "x", code=1)).err
        assert (await shell("token", "revoke", made["id"])).out == f"{made['id']} revoked\n"
        refused = await viewer("agents", "list", code=3)
        assert "code: credential_invalid" in refused.err
        listed = await shell("token", "list")
        states = {row.split()[1]: row.split()[3] for row in listed.out.splitlines()[1:]}
        assert states == {"ci": "revoked", "admin": "live"}
        assert made["token"] not in listed.out
        plain = await shell("token", "create", "script", "--role", "agent")
        assert plain.out.startswith("atom_key_")
        assert len(plain.out.splitlines()) == 1


async def test_an_index_is_a_job(database: URL, home: Path) -> None:
    async with served(database, home) as (atom, shell):
        made = await atom.agent("reader")
        give_notes(atom, made["id"])
        watched = (await shell("agents", "index", "reader", "--json")).json()
        assert (watched["status"], watched["report"]["files"]) == ("completed", 1)
        begun = (await shell("agents", "index", "reader", "--no-wait", "--json")).json()
        assert begun["status_url"] == f"/api/jobs/{begun['job_id']}"
        assert (await shell("jobs", "show", begun["job_id"], "--follow", "--json")).json()["status"] == "completed"
        listed = await shell("jobs", "list")
        assert [row.split()[1:3] for row in listed.out.splitlines()[1:]] == [["workspace_index", "completed"]] * 2
        assert "code: job_ended" in (await shell("jobs", "cancel", begun["job_id"], code=1)).err


async def test_what_cannot_be_done_exits_with_its_own_code_and_says_why(database: URL, home: Path) -> None:
    async with served(database, home) as (atom, shell):
        nobody = Shell(home, "http://127.0.0.1:9", atom.token)
        wrong = Shell(home, atom.url, atom.token[:-1] + ("1" if atom.token.endswith("0") else "0"))
        cases = [
            (shell, ["run", "nobody", "Go."], 1, "agent_not_found"),
            (shell, ["agents", "create", "a b"], 2, "agent_invalid"),
            (shell, ["agents", "create", "x", "--tools", "nope"], 2, "agent_invalid"),
            (shell, ["agents", "create", "x", "--model", "nope/nope"], 2, "llm_not_configured"),
            (shell, ["runs", "show", "not-an-id"], 2, "invalid_request"),
            (shell, ["runs", "show", "01a20a0d-8e88-7117-9c08-46edfd98777f"], 1, "run_not_found"),
            (shell, ["runs", "list", "--after", "zzz"], 2, "invalid_input"),
            (shell, ["runs", "list", "--agent", "nobody"], 1, "agent_not_found"),
            (wrong, ["agents", "list"], 3, "credential_invalid"),
            (nobody, ["agents", "list"], 3, "unreachable"),
        ]
        done = await asyncio.gather(*(one(*argv, code=code) for one, argv, code, _ in cases))
        assert [(argv, said.err.splitlines()[-1]) for (_, argv, _, _), said in zip(cases, done, strict=True)] == [
            (argv, f"code: {code}") for _, argv, _, code in cases
        ]
        assert atom.token not in "".join(said.out + said.err for said in done)


async def test_the_atom_of_this_home_is_found_without_any_variable(database: URL, home: Path) -> None:
    async with served(database, home) as (atom, _):
        (home / "atom.pid").write_text(f'{{"pid": {os.getpid()}, "url": "{atom.url}", "started_at": 0}}')
        bare = Shell(home)
        assert (await bare("agents", "list", "--json")).json()["items"] == []
        shown = await bare("config", "show", "--json")
        assert {"name": "ATOM_HOME", "value": str(home), "source": "ATOM_HOME"}.items() <= shown.json()["items"][
            0
        ].items()
        assert (await bare("version")).out == f"atom {__version__}\n"
