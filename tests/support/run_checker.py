"""Whether a run kept what was promised, judged from outside: database, provider's ledger, sink.

It shares no code with what it judges.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

ENDED = {"completed", "failed", "cancelled"}
REPEATABLE = {"current_time"}
GATED = {"delete_file"}


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything there is to judge by. `kills`: workers that died; `retries`: step keys a person let be repeated."""

    run: dict[str, Any]
    steps: list[dict[str, Any]]
    calls: list[dict[str, Any]]
    approvals: list[dict[str, Any]]
    audit: list[dict[str, Any]]
    events: list[dict[str, Any]]
    provider: list[dict[str, Any]]
    sink: list[dict[str, Any]]
    kills: int
    retries: Counter[str]
    told: frozenset[str]


def look(url: str, run_id: str, folder: Path, *, retries: Iterable[str], told: Iterable[str]) -> Seen:
    with psycopg.connect(url, row_factory=dict_row, autocommit=True) as connection:

        def rows(query: str) -> list[dict[str, Any]]:
            return list(connection.execute(query.encode(), {"run": run_id}).fetchall())

        return Seen(
            run=rows("SELECT * FROM agent_execution WHERE id = %(run)s")[0],
            steps=rows("SELECT * FROM execution_step WHERE execution_id = %(run)s ORDER BY step_no"),
            calls=rows("SELECT * FROM llm_call WHERE execution_id = %(run)s"),
            approvals=rows("SELECT * FROM approval WHERE execution_id = %(run)s ORDER BY id"),
            audit=rows("SELECT * FROM audit_entry WHERE run_id = %(run)s ORDER BY id"),
            events=rows("SELECT * FROM event WHERE run_id = %(run)s ORDER BY id"),
            provider=lines(folder / "provider.jsonl"),
            sink=lines(folder / "sink.jsonl"),
            kills=len(lines(folder / "killed.jsonl")),
            retries=Counter(retries),
            told=frozenset(told),
        )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def violations(seen: Seen) -> list[str]:
    """What is broken, in words; empty when everything held."""
    return [*_ended(seen), *_once(seen), *_effects(seen), *_approvals(seen), *_accounts(seen)]


def _ended(seen: Seen) -> list[str]:
    found = []
    if seen.run["status"] not in ENDED:
        found.append(f"I1: the run is {seen.run['status']}/{seen.run['wait_reason']}")
    if seen.run["lease_owner"] is not None:
        found.append("I1: somebody still owns the run")
    ends = [one for one in seen.events if one["type"].removeprefix("run.") in ENDED]
    if len(ends) != 1:
        found.append(f"I1: {len(ends)} events of an end")
    return found


def _once(seen: Seen) -> list[str]:
    found = []
    keys = Counter(step["key"] for step in seen.steps)
    found += [f"I2: {key} stands {count} times in the journal" for key, count in keys.items() if count > 1]
    if [step["step_no"] for step in seen.steps] != list(range(1, len(seen.steps) + 1)):
        found.append("I2: the numbers of the journal have a gap")
    epochs = [step["epoch"] for step in seen.steps if step["kind"] == "model"]
    if epochs != sorted(epochs):
        found.append(f"I2: epochs go back: {epochs}")
    if any(step["epoch"] > seen.run["lease_epoch"] for step in seen.steps):
        found.append("I2: a step of an epoch that never was")
    if seen.run["status"] == "completed" and any(step["status"] != "done" for step in seen.steps):
        found.append("I2: completed with a step that has no end")
    replies = Counter(one["data"]["step"] for one in seen.events if one["type"] == "model.replied")
    recorded = Counter(step["key"] for step in seen.steps if step["kind"] == "model")
    if replies != recorded:
        found.append(f"I6: events of replies {dict(replies)}, journal {dict(recorded)}")
    return found


def _effects(seen: Seen) -> list[str]:
    found = []
    happened = Counter(line["key"].partition(":")[2] for line in seen.sink)
    tools = {line["key"].partition(":")[2]: line["tool"] for line in seen.sink}
    for key, times in happened.items():
        if tools[key] not in REPEATABLE and times > 1 + seen.retries[key]:
            found.append(f"I3: {tools[key]} at {key} happened {times} times")
        if times > 1 + seen.kills + seen.retries[key]:
            found.append(f"I3: {tools[key]} at {key} happened {times} times with {seen.kills} kills")
    for step in seen.steps:
        done = step["kind"] == "tool" and step["status"] == "done" and step["result"]["ok"]
        if done and step["key"] not in seen.told and not happened[step["key"]]:
            found.append(f"I3: {step['key']} is recorded and never happened")
    return found


def _approvals(seen: Seen) -> list[str]:
    found = []
    used = Counter(one["step_key"] for one in seen.approvals if one["status"] == "used")
    for line in seen.sink:
        key = line["key"].partition(":")[2]
        if line["tool"] in GATED and not used[key]:
            found.append(f"I4: {line['tool']} at {key} happened without an approval")
    for key, count in used.items():
        if count > 1 + seen.retries[key]:
            found.append(f"I4: {count} approvals were used for {key}")
    for one in seen.approvals:
        step = next((step for step in seen.steps if step["key"] == one["step_key"]), None)
        if one["status"] == "used" and step is not None and one["digest"] != _digest(one, step):
            found.append(f"I4: the approval of {one['step_key']} was for another call")
        if one["status"] in {"pending", "approved"} and seen.run["status"] in ENDED:
            found.append(f"I4: the approval of {one['step_key']} is still {one['status']}")
    allowed = Counter(one["data"]["digest"] for one in seen.audit if one["decision"] == "allow")
    done = [step["key"] for step in seen.steps if step["kind"] == "tool" and (step["result"] or {}).get("ok")]
    if sum(allowed.values()) < len(done):
        found.append(f"I6: {len(done)} calls were done, {sum(allowed.values())} allowed")
    return found


def _digest(approval: dict[str, Any], step: dict[str, Any]) -> str:
    wish = {
        "agent_version": approval["agent_version"],
        "action": step["name"],
        "arguments": step["request"]["arguments"],
    }
    text = json.dumps(wish, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _accounts(seen: Seen) -> list[str]:
    found = []
    replied = Counter(line["turn"] for line in seen.provider if line["what"] == "replied")
    recorded = {int(step["key"].removeprefix("turn-")) for step in seen.steps if step["kind"] == "model"}
    found += [f"I5: turn {turn} is recorded and the provider never said it" for turn in recorded - set(replied)]
    in_flight = sum(replied.values()) - len(recorded)
    if not 0 <= in_flight <= seen.kills:
        found.append(f"I5: {in_flight} replies were paid and not recorded, with {seen.kills} kills")
    tokens = {line["turn"]: line["tokens"] for line in seen.provider if line["what"] == "replied"}
    owed = sum(tokens[turn] for turn in recorded if turn in tokens)
    counted = (seen.run["input_tokens"] or 0) + (seen.run["output_tokens"] or 0)
    if counted != owed:
        found.append(f"I5: {counted} tokens counted, {owed} in the provider's ledger")
    paid = Counter(one["step_key"] for one in seen.calls if one["outcome"] == "ok")
    if set(paid.values()) - {1} or len(paid) != len(recorded) or seen.run["model_calls"] != len(recorded):
        found.append(f"I5: accounts of {dict(paid)} and {seen.run['model_calls']} for {len(recorded)} replies")
    return found
