"""An operator governs with the command line: policies, grants, explanations, the cache; against a whole Atom."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, text

from atom.infra.db import unit_of_work
from atom.llm.testing import ScriptedModel, call
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.polling import eventually
from tests.support.shell import Shell

POLICY = """\
policy: production
rules:
  - name: no-secrets
    description: Names of secrets are not written.
    actions: {names: [write_file]}
    when:
      arguments:
        - {path: $.path, matches: secret}
    effect: forbid
  - name: two-people-delete
    actions: {effects: [irreversible]}
    effect: ask
    eyes: two
"""


async def metric(atom: RunningAtom, name: str) -> float:
    lines = (await atom.http.get("/metrics")).text.splitlines()
    (found,) = [line for line in lines if line.startswith(f"{name} ")]
    return float(found.split()[1])


async def events(atom: RunningAtom) -> list[str]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        rows = await session.execute(text("SELECT type FROM event WHERE type ~ '^(policy|grant)' ORDER BY id"))
        return [row[0] for row in rows]


async def test_policies_are_applied_compared_gone_back_to_and_removed(
    database: URL, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    async with running_atom(settings_for_tests(home), database) as atom:
        shell = Shell(home, atom.url, atom.token)
        await atom.agent("writer", tools=["write_file", "delete_file"], maturity="autonomous")

        async def decision(action: str = "write_file", **arguments: str) -> Any:
            body = {"agent": "writer", "action": action, "arguments": arguments}
            return (await atom.http.post("/api/governance/explain", json=body)).json()

        dry = await shell("governance", "apply", "-f", str(file), "--dry-run")
        assert "would be version 1, 2 rules" in dry.out
        assert (await decision(path="secret.txt"))["decision"] == "allow"
        applied = (await shell("governance", "apply", "-f", str(file), "--json")).json()
        assert (applied["name"], applied["version"], applied["changed"]) == ("production", 1, True)
        refused = await decision(path="secret.txt")
        assert (refused["decision"], refused["reason"]) == ("deny", "policy")
        assert [rule["rule"] for rule in refused["rules"]] == ["production/no-secrets"]
        assert (await decision(path="notes.txt"))["decision"] == "allow"
        assert (await decision())["rules"][0]["detail"].endswith("[taken as fulfilled: there is no $.path]")
        shown = (await shell("governance", "explain", "writer", "delete_file")).out
        assert shown.startswith("ask: critical_or_irreversible\n")
        assert "approved by  two people" in shown
        assert "rule production/two-people-delete: ask" in shown
        ghost = await decision("delete_files")
        assert (ghost["decision"], ghost["reason"], ghost["action"]) == ("deny", "unknown_action", None)

        again = await shell("governance", "apply", "-f", "-", stdin=POLICY.encode())
        assert "nothing changed" in again.out
        file.write_text(POLICY.replace("matches: secret", "matches: hidden").replace("write_file", "write_fil"))
        second = await shell("governance", "apply", "-f", str(file))
        assert "+        - {path: $.path, matches: hidden}" in second.out
        assert "no action is named 'write_fil'. Did you mean write_file?" in second.err
        assert (await decision(path="secret.txt"))["decision"] == "allow"
        assert (
            "-        - {path: $.path, matches: secret}"
            in (await shell("governance", "show", "production", "--diff", "1")).out
        )
        assert (await atom.http.get("/api/governance/policies/production?version=1")).json()["source"] == POLICY
        back = (await shell("governance", "rollback", "production", "--to", "1", "--json")).json()
        assert back["version"] == 3
        assert (await decision(path="secret.txt"))["decision"] == "deny"
        assert (
            (await shell("governance", "policies")).out.splitlines()[1].startswith("production  3        2      admin:")
        )
        assert "version 4" in (await shell("governance", "remove", "production")).out
        assert (await decision(path="secret.txt"))["decision"] == "allow"
        history = (await atom.http.get("/api/governance/policies/production/versions")).json()["items"]
        assert [(row["version"], row["removed"]) for row in history] == [(4, True), (3, False), (2, False), (1, False)]
        missing = await atom.http.get("/api/governance/policies/production")
        assert (missing.status_code, missing.json()["code"]) == (404, "policy_not_found")
        assert await events(atom) == ["policy.applied"] * 3 + ["policy.removed"]


async def test_a_mistake_in_a_policy_is_told_with_its_place(database: URL, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    async with running_atom(settings_for_tests(home), database) as atom:
        shell = Shell(home, atom.url, atom.token)
        file.write_text(POLICY.replace("effect: forbid", "effect: allow"))
        wrong = await shell("governance", "apply", "-f", str(file), code=None)
        assert wrong.code != 0
        assert "line 9, column 5: rules.0.effect" in wrong.err
        answer = await atom.http.post("/api/governance/policies", json={"source": file.read_text()})
        assert (answer.status_code, answer.json()["code"]) == (422, "policy_invalid")
        assert (answer.json()["line"], answer.json()["column"]) == (9, 5)


async def test_a_grant_lets_an_autonomous_agent_past_the_floor_until_it_is_taken_back(
    database: URL, home: Path
) -> None:
    model = ScriptedModel(call("delete_file", path="a.txt"), call("delete_file", path="a.txt"), "Done.")
    async with running_atom(settings_for_tests(home), database, model) as atom:
        shell = Shell(home, atom.url, atom.token)
        agent = await atom.agent("cleaner", tools=["delete_file"], maturity="autonomous")
        (atom.folder(agent["id"]) / "a.txt").write_text("x")
        asked = await atom.done("cleaner", "Clean.")
        assert (asked["status"], asked["wait_reason"]) == ("waiting", "approval")
        await atom.http.post(f"/api/runs/{asked['id']}/cancel")
        given = await shell(
            "governance", "grant", "cleaner", "delete_file", "--reason", "nightly", "--expires-days", "30"
        )
        assert "cleaner may do delete_file alone while it is autonomous, until 20" in given.out
        run = await atom.done("cleaner", "Clean.")
        assert run["status"] == "completed"
        assert not (atom.folder(agent["id"]) / "a.txt").exists()
        args = ["--args", '{"path": "a.txt"}', "--trigger", "schedule"]
        explained = (await shell("governance", "explain", "cleaner", "delete_file", *args, "--json")).json()
        assert (explained["decision"], explained["reason"]) == ("allow", "named_grant")
        await shell("governance", "ungrant", "cleaner", "delete_file")
        assert (await atom.http.get("/api/governance/grants")).json()["items"] == []
        (ended,) = (await shell("governance", "grants", "--ended", "--agent", "cleaner", "--json")).json()["items"]
        assert (ended["reason"], ended["revoked_by"].split(":")[0]) == ("nightly", "admin")
        body = {"agent": "cleaner", "action": "delete_fil", "reason": "x"}
        near = (await atom.http.post("/api/governance/grants", json=body)).json()
        assert (near["code"], near["hint"]) == ("grant_invalid", "Did you mean delete_file?")
        gone = await atom.http.delete("/api/governance/grants/cleaner/delete_file")
        assert (gone.status_code, gone.json()["code"]) == (404, "grant_not_found")
        assert await events(atom) == ["grant.added", "grant.removed"]
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            rows = await session.execute(
                text("SELECT decision FROM audit_entry WHERE decision ~ 'granted' ORDER BY id")
            )
            assert [row[0] for row in rows] == ["granted", "ungranted"]


async def test_the_cache_is_warmed_and_its_hit_rate_rises_on_every_replica(database: URL, home: Path) -> None:
    model = ScriptedModel(*[item for _ in range(2) for item in (call("current_time"), "Now.")])
    async with running_atom(settings_for_tests(home), database, model) as atom:
        shell = Shell(home, atom.url, atom.token)
        await atom.agent("one", tools=["current_time"])
        two = await atom.agent("two", tools=["current_time"])
        assert (await atom.done("one", "Go."))["status"] == "completed"
        assert await metric(atom, "governance_cache_hit_rate") == 0.0
        refused: list[dict[str, Any]] = [{"agent_ids": []}, {"agent_ids": ["x"] * 1001}, {"agents": ["x"]}]
        for wrong in [*refused, {"agent_ids": [""]}]:
            assert (await atom.http.post("/api/admin/cache/warm", json=wrong)).status_code == 422
        body = {"agent_ids": ["TWO", two["id"], "nobody"]}
        answer = await atom.http.post("/api/admin/cache/warm", json=body)
        assert answer.json() == {"warmed": 1, "decisions": 5, "unknown": ["nobody"]}
        assert (await atom.done("two", "Go."))["status"] == "completed"
        assert await metric(atom, "governance_cache_hit_rate") == 0.5
        assert await metric(atom, "governance_cache_hits_total") == 1.0
        assert await metric(atom, "governance_cache_misses_total") == 1.0

        knowledge = atom.atom.parts.governance.service.knowledge

        async def told(payload: str) -> None:
            async with unit_of_work(atom.atom.parts.base.sessions) as session:
                await session.execute(text("SELECT pg_notify('atom_governance', :payload)"), {"payload": payload})

        await told("clear")  # as another replica says it
        await eventually(lambda: len(knowledge._decisions) == 0)
        await told(f"warm:{two['id']}")
        await eventually(lambda: len(knowledge._decisions) == 5)
        await told("from a later release")
        await atom.http.post("/api/agents/two/pause")
        await eventually(lambda: len(knowledge._decisions) == 0)
        partly = await shell("cache", "warm", "one", "nobody", code=1)
        assert "1 agents warmed, 5 new decisions." in partly.out
        assert "There is no agent 'nobody'." in partly.err
        assert "5 decisions forgotten" in (await shell("cache", "clear-decisions")).out


async def test_actions_are_listed_as_they_are_declared(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home), database) as atom:
        shell = Shell(home, atom.url, atom.token)
        first = (await atom.http.get("/api/governance/actions?limit=4")).json()
        rest = (await atom.http.get(f"/api/governance/actions?after={first['next']}")).json()
        names = [one["name"] for one in first["items"] + rest["items"]]
        assert names == sorted(names)
        assert {"read_file", "http_get", "call_agent"} <= set(names)
        lines = (await shell("governance", "actions")).out.splitlines()
        assert [line.split() for line in lines if line.startswith("http_get")] == [
            ["http_get", "3", "read", "yes", "untrusted"]
        ]
