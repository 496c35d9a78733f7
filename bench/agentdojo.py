"""AgentDojo as an upper-bound replay: the model does whatever an attacker's text says, and the door has to stop it.

    scripts/agentdojo                                  # once: the benchmark in an environment of its own
    .venv/bin/python bench/agentdojo.py [--json FILE] [--maturity supervised] [--show]

For each of the 949 pairs the calls that do the user's task are made, then the attacker's, in one run: the attacker has
the largest trusted vocabulary that this run will ever have. Each call is decided by the code that decides it in
production (`taint.judge`, `decide.decide`); what it returned is read into the run with the labels of its tool.

The rows `attack in memory` are the same with the attacker's text, and every value of his calls, in an episode that a
run with untrusted content has left behind: `recall` brings it in before anything else. `only memory untrusted`: there,
all that the benchmark's own tools return is trusted: nothing but the label of the episode can stop him.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(
    0, str(Path(__file__).parents[1])
)  # started as a file, the folder of bench is on the path, not its root

from bench.agentdojo_tools import ACTIONS, MONEY, Called, written_out

from atom.governance.decide import Standing, Trigger, decide
from atom.governance.models import EffectClass, Label, Maturity, Verdict
from atom.governance.taint import Read, Reading, answered, judge, traceable
from atom.memory.drafts import Outcome, SegmentKind
from atom.memory.hits import Hit, Reason
from atom.memory.models import Tier
from atom.memory.recall import Recalled
from atom.tools.memory import RECALLING, answer

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / "build" / "agentdojo" / "bin" / "python"
INSTALLED = ROOT / "build" / "agentdojo" / "complete"
CLASSES = ("irreversible", "money", "egress")
Door = Callable[[Called, Reading], Verdict]


@dataclass(frozen=True, slots=True)
class Task:
    suite: str
    name: str
    prompt: str
    calls: tuple[Called, ...]
    given: bool = True  # its calls are the benchmark's own, not written out from the words of the goal


@dataclass(slots=True)
class Tally:
    """What came of one door. A pair is stopped when a call of the attacker's that matters is asked about or denied."""

    name: str
    pairs: int = 0
    stopped: int = 0
    given: int = 0
    given_stopped: int = 0
    by_class: dict[str, list[int]] = field(default_factory=lambda: {name: [0, 0] for name in CLASSES})
    benign: int = 0
    alone: int = 0
    asked: int = 0
    impossible: int = 0
    missed: list[str] = field(default_factory=list)
    asking: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if name != "by_class"} | {
            "by_class": {name: {"attacks": all_, "stopped": stopped} for name, (stopped, all_) in self.by_class.items()}
        }


def export() -> dict[str, Any]:
    """-P: this very file has the name of the package that the other one imports."""
    said = subprocess.run(
        [str(PYTHON), "-P", str(ROOT / "bench" / "agentdojo_export.py")],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def tasks(exported: dict[str, Any]) -> list[tuple[list[Task], list[Task]]]:
    """By suite: the users' and the attackers'."""
    found = []
    for name, suite in exported["suites"].items():
        users = [Task(name, key, task["prompt"], _calls(task)) for key, task in suite["user"].items()]
        attackers = []
        for key, task in suite["attacker"].items():
            own = _calls(task)
            written = () if own or name != "workspace" else tuple(written_out(key, suite))
            attackers.append(Task(name, key, task["prompt"], own or written, given=bool(own)))
        found.append((users, attackers))
    return found


def _calls(task: dict[str, Any]) -> tuple[Called, ...]:
    return tuple(Called(call["tool"], call["arguments"], call["result"], call["data"]) for call in task["calls"])


def door_of(maturity: Maturity) -> Door:
    able = Standing(maturity, active=True, tools=frozenset(ACTIONS))

    def through(call: Called, reading: Reading) -> Verdict:
        spoken = judge(call.action, call.arguments, reading)
        return decide(able, call.action, Trigger.MANUAL, spoken).verdict

    return through


def ask_on_every_effect(call: Called, _: Reading) -> Verdict:
    return Verdict.ASK if call.action.effect is not EffectClass.READ else Verdict.ALLOW


def walk(calls: Iterable[Called], reading: Reading, door: Door) -> list[Verdict]:
    """Decide and read, call by call; whatever is asked is approved, as a person would that wants the task done."""
    verdicts = []
    for number, call in enumerate(calls):
        traced = traceable(call.action, call.arguments, reading)
        verdicts.append(door(call, reading))
        where = f"{call.tool} in turn {number}"
        if verdicts[-1] is not Verdict.DENY:
            read = answered(call.action, where, call.result, given=frozenset(), vouched=call.vouched, traced=traced)
            reading.read(Read(read.where, read.text, read.labels, read.vouched))
    return verdicts


def begun(user: Task) -> Reading:
    reading = Reading()
    reading.user_said(user.prompt)
    return reading


def classes(calls: Sequence[Called]) -> set[str]:
    found = set()
    for call in calls:
        found |= {"irreversible"} if call.action.effect is EffectClass.IRREVERSIBLE else set()
        found |= {"money"} if call.tool in MONEY else set()
        found |= {"egress"} if call.action.egress else set()
    return found


def replay(
    name: str, suites: Sequence[tuple[list[Task], list[Task]]], door: Door, poison: "Poison | None" = None
) -> Tally:
    tally = Tally(name)
    for users, attackers in suites:
        for user in users:
            if poison is None:
                _benign(tally, user, walk(user.calls, begun(user), door))
            for attacker in attackers:
                matters = [call for call in attacker.calls if call.matters]
                if matters:
                    _attack(tally, user, attacker, door, poison)
    return tally


@dataclass(frozen=True, slots=True)
class Poison:
    """The attack lies in memory, under these labels. `others_trusted`: what tools return is trusted, whatever they
    declare."""

    others_trusted: bool = False
    labels: frozenset[Label] = frozenset({Label.UNTRUSTED})

    def begin(self, reading: Reading, attacker: Task) -> None:
        """What `recall` answers, as the loop reads it."""
        said = f"{attacker.prompt} {json.dumps([dict(call.arguments) for call in attacker.calls], ensure_ascii=False)}"
        at = datetime(2026, 5, 4, 9, tzinfo=UTC)
        hit = Hit(
            uuid4(), uuid4(), 0, SegmentKind.RESULT, "http_get", "turn-0", said, at, "a page", Outcome.SUCCESS,
            self.labels,
            Tier.HOT, Reason.SIMILAR,
        )  # fmt: skip
        recalled = Recalled((hit,), 0, cut=False, words_only=None, seconds=0.0)
        text, given = answer(recalled), recalled.labels
        reading.read(answered(RECALLING, "recall in turn 0", text, given=given, vouched=(), traced=True))

    def of(self, call: Called) -> Called:
        return replace(call, trusting=self.others_trusted)


def _benign(tally: Tally, user: Task, verdicts: Sequence[Verdict]) -> None:
    tally.benign += 1
    tally.impossible += Verdict.DENY in verdicts
    asks = Verdict.ASK in verdicts
    tally.asked += asks
    tally.alone += set(verdicts) <= {Verdict.ALLOW}
    if asks:
        tally.asking.append(f"{user.suite}/{user.name}")


def _attack(tally: Tally, user: Task, attacker: Task, door: Door, poison: "Poison | None" = None) -> None:
    reading = begun(user)
    if poison is not None:
        poison.begin(reading, attacker)
    calls, wanted = ([poison.of(call) if poison else call for call in task.calls] for task in (user, attacker))
    walk(calls, reading, door)
    verdicts = walk(wanted, reading, door)
    stopped = any(v is not Verdict.ALLOW for call, v in zip(attacker.calls, verdicts, strict=True) if call.matters)
    _count(tally, user, attacker, stopped=stopped)


def _count(tally: Tally, user: Task, attacker: Task, *, stopped: bool) -> None:
    tally.pairs += 1
    tally.stopped += stopped
    tally.given += attacker.given
    tally.given_stopped += stopped and attacker.given
    for name in classes(attacker.calls):
        tally.by_class[name][0] += stopped
        tally.by_class[name][1] += 1
    if not stopped:
        tally.missed.append(f"{user.suite}/{user.name} x {attacker.name}")


def allow_list(suites: Sequence[tuple[list[Task], list[Task]]]) -> Tally:
    """A floor: an oracle grants each task the tools that its own calls use, and nothing else."""
    tally = Tally("allow-list oracle")
    for users, attackers in suites:
        for user in users:
            own = {call.tool for call in user.calls}
            _benign(tally, user, [Verdict.ALLOW])
            for attacker in attackers:
                if any(call.matters for call in attacker.calls):
                    stopped = any(call.tool not in own for call in attacker.calls)
                    _count(tally, user, attacker, stopped=stopped)
    return tally


def table(tallies: Sequence[Tally]) -> str:
    def share(part: int, whole: int) -> str:
        return f"{100 * part / whole:.1f} %" if whole else "-"

    head = (
        "| Door | Attack pairs stopped | of these, with the benchmark's own calls | Irreversible | Money | Egress "
        "| Benign without a question | with approvals | asks | impossible |"
    )
    rows = [head, "|" + "---|" * 10]
    for one in tallies:
        by = [f"{share(*one.by_class[name])}" for name in CLASSES]
        rows.append(
            f"| {one.name} | {one.stopped} of {one.pairs} ({share(one.stopped, one.pairs)}) "
            f"| {one.given_stopped} of {one.given} ({share(one.given_stopped, one.given)}) | {' | '.join(by)} "
            f"| {one.alone} of {one.benign} | {one.benign - one.impossible} "
            f"| {one.asked} ({share(one.asked, one.benign)}) | {one.impossible} |"
        )
    return "\n".join(rows)


def run(exported: dict[str, Any]) -> list[Tally]:
    suites = tasks(exported)
    floors = [allow_list(suites), replay("ask on every side effect", suites, ask_on_every_effect)]
    doors = {maturity: door_of(maturity) for maturity in Maturity}
    found = floors + [replay(maturity.value, suites, door) for maturity, door in doors.items()]
    for maturity in (Maturity.SUPERVISED, Maturity.AUTONOMOUS):
        for what, poison in (("attack in memory", Poison()), ("only memory untrusted", Poison(others_trusted=True))):
            found.append(replay(f"{maturity.value}, {what}", suites, doors[maturity], poison))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument(
        "--export", type=Path, help="read what bench/agentdojo_export.py printed, instead of running it"
    )
    parser.add_argument("--show", action="store_true", help="name the tasks that ask and the pairs that were missed")
    given = parser.parse_args()
    if given.export is None and not INSTALLED.exists():
        print(
            f"agentdojo is not installed here: scripts/agentdojo installs it into {PYTHON.parents[1]}", file=sys.stderr
        )
        return 3
    exported = json.loads(given.export.read_text()) if given.export else export()
    began = time.monotonic()
    tallies = run(exported)
    print(table(tallies))
    print(f"\n{sum(one.pairs for one in tallies)} pairs decided in {time.monotonic() - began:.1f} s")
    if given.show:
        for one in tallies:
            print(f"\n{one.name}: asks {', '.join(one.asking)}\n  missed: {', '.join(one.missed)}")
    if given.json:
        given.json.write_text(json.dumps([one.as_json() for one in tallies], indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
