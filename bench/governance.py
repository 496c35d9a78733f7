"""How long a decision takes: the pure rule, the cache beside a bare dict, cold with the database, and other engines.

    .venv/bin/python bench/governance.py [--decisions 200000] [--agents 1000] [--json FILE]

Everything that is compared is measured in turns in one run, so that a busy machine is busy for all; of the rounds the
best counts for a rate and a ratio. `casbin` and `cedarpy` decide the same matrix of maturity, risk and effect (a person
started the run); that they decide alike is checked before the clock is started. One that is not installed is left out.
"""

import argparse
import asyncio
import gc
import importlib
import importlib.util
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry
from sqlalchemy import URL

from atom.agents.service import AgentService, Changes
from atom.events.service import Outbox, Signal
from atom.governance import store
from atom.governance.decide import Decision, Standing, Trigger, decide
from atom.governance.knowledge import DecisionKey, Knowledge
from atom.governance.models import Action, EffectClass, Maturity, Risk, Verdict
from atom.governance.service import GovernanceService, Wish
from atom.identity.models import Principal, Role
from atom.infra.database_url import parse_database_url
from atom.infra.db import Sessions, create_engine, create_sessions, unit_of_work
from atom.infra.embedded_postgres import EmbeddedPostgres
from atom.infra.log import configure
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.infra.schema import migrate
from atom.settings import DatabaseSettings

ADMIN = Principal(UUID(int=1), "bench", Role.ADMIN)
ROUNDS = 11
COLD = 200
OTHERS = 2_000  # decisions of the engines that take longer
INVALIDATED = 0.01
RISKS = {1: "low", 2: "moderate", 3: "high", 4: "critical"}
ACTIONS = {
    f"{effect.value}_{risk.name.lower()}": Action(f"{effect.value}_{risk.name.lower()}", risk, effect)
    for risk, effect in product(Risk, EffectClass)
}
NAMES = tuple(ACTIONS)
MATRIX = [
    (Standing(maturity, active=True, tools=frozenset(NAMES)), action)
    for maturity, action in product(Maturity, ACTIONS.values())
]


@dataclass(slots=True)
class Report:
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str, *, goal: float | None = None, better: str = "lower") -> None:
        row: dict[str, Any] = {"name": name, "value": round(value, 4), "unit": unit, "better": better}
        self.rows.append(row | ({"goal": goal} if goal is not None else {}))


def best(call: Callable[[], None], count: int) -> float:
    """Seconds of one of `count` in the best round."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        found.append((time.perf_counter() - began) / count)
    return min(found)


def pure(report: Report, decisions: int) -> None:
    asked = [random.Random(1).choice(MATRIX) for _ in range(decisions)]

    def go() -> None:
        for agent, action in asked:
            decide(agent, action, Trigger.MANUAL)

    report.add("pure decide()", 1 / best(go, decisions), "1/s", goal=500_000, better="higher")


def filled(agents: int) -> tuple[Knowledge, list[DecisionKey]]:
    """As it is after a warm of so many agents, and every key in it."""
    knowledge = Knowledge(most=agents * len(NAMES))
    keys: list[DecisionKey] = []
    for number in range(agents):
        id_ = uuid4()
        agent, action = MATRIX[number % len(MATRIX)]
        for name in NAMES:
            key = ("1:700", f"{id_}:{number % 7 + 1}:{700 + number}", name, Trigger.MANUAL)
            decision = decide(agent, action, Trigger.MANUAL)
            knowledge._decisions.put(key, decision, until=time.monotonic() + 3600, tags=(id_,))  # noqa: SLF001 - as warm does
            keys.append(key)
    return knowledge, keys


def cached(report: Report, decisions: int, agents: int) -> None:
    """A hit as authorize() makes it: the key is put together anew from what the database said."""
    knowledge, keys = filled(agents)
    draw = random.Random(2)
    bare: dict[DecisionKey, Decision] = {key: knowledge._decisions._held[key].value for key in keys}  # noqa: SLF001
    asked = [draw.choice(keys) for _ in range(decisions)]

    def hit() -> None:
        for policies, stamp, name, trigger in asked:
            knowledge.find((policies, stamp, name, trigger))

    def lookup() -> None:
        for policies, stamp, name, trigger in asked:
            bare.get((policies, stamp, name, trigger))

    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        for call, into in ((hit, ours), (lookup, theirs)):
            began = time.perf_counter()
            call()
            into.append((time.perf_counter() - began) / decisions)
    assert knowledge.rate.hits == ROUNDS * decisions
    report.add("cached decision, mean", min(ours) * 1e6, "us")
    report.add("a bare dict with the same key", min(theirs) * 1e6, "us")
    report.add("cached decision / bare dict", min(ours) / min(theirs), "x", goal=8)
    clock, each = time.perf_counter_ns, []
    for policies, stamp, name, trigger in asked:
        began_ns = clock()
        knowledge.find((policies, stamp, name, trigger))
        each.append(clock() - began_ns)
    each.sort()
    report.add("cached decision, p99", each[int(len(each) * 0.99)] / 1000, "us", goal=5)


def zipf(report: Report, decisions: int) -> None:
    """Ten thousand agents, the popular ones asked about most; after one decision in a hundred an agent has changed."""
    agents, draw = 10_000, random.Random(3)
    weights = [1 / (rank + 1) ** 1.1 for rank in range(agents)]
    who = draw.choices(range(agents), weights, k=decisions)
    changed = draw.choices(range(agents), weights, k=decisions)
    knowledge, versions = Knowledge(), [1] * agents
    agent, action = MATRIX[-1]
    until = time.monotonic() + 3600
    asked = hits = 0
    for number, one in enumerate(who):
        name = NAMES[one % 3]
        key = ("1:700", f"{one}:{versions[one]}:700", name, Trigger.MANUAL)
        found = knowledge.find(key) is not None
        if not found:
            knowledge._decisions.put(key, decide(agent, action, Trigger.MANUAL), until=until, tags=(one,))  # noqa: SLF001
        if number > decisions // 10:  # warm by then
            asked, hits = asked + 1, hits + found
        if draw.random() < INVALIDATED:
            versions[changed[number]] += 1
            knowledge._decisions.drop(changed[number])  # noqa: SLF001 - as a notification does
    report.add("hit rate, Zipf, 1 % invalidations", 100 * hits / asked, "%", goal=95, better="higher")


async def with_a_database(report: Report, url: URL, agents: int) -> None:
    engine = create_engine(url, DatabaseSettings(pool_size=4, max_overflow=0))
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    service = AgentService(Outbox(Signal()), frozenset(NAMES), lambda _: None)
    ids: list[UUID] = []
    for begin in range(0, agents, 100):
        async with unit_of_work(sessions) as session:
            for number in range(begin, min(begin + 100, agents)):
                definition = Changes(tools=NAMES[:5], maturity="autonomous")
                ids.append((await service.create(session, ADMIN, f"agent-{number}", definition)).id)
    governance = GovernanceService(service, ACTIONS)
    knowledge = governance.knowledge
    cold = [await looked(sessions, knowledge, id_) for id_ in ids[:COLD]]
    warm = [await looked(sessions, knowledge, id_) for id_ in ids[:COLD]]
    report.add("cold decision, median", statistics.median(cold) * 1000, "ms", goal=2)
    report.add("the same from the cache, with its question", statistics.median(warm) * 1000, "ms")
    whole = []
    for id_ in ids[:COLD]:
        async with unit_of_work(sessions) as session:
            began = time.perf_counter()
            wish = Wish(id_, uuid4(), Trigger.MANUAL, NAMES[0], {"path": "a"})
            await governance.authorize(session, wish, step_key="turn-0.call-0")
            whole.append(time.perf_counter() - began)
    report.add("authorize(), audit entry and all, median", statistics.median(whole) * 1000, "ms")
    knowledge.clear()
    began = time.perf_counter()
    async with unit_of_work(sessions) as session:
        warmed = await knowledge.warm(session, [str(id_) for id_ in ids], ACTIONS)
    seconds = time.perf_counter() - began
    assert len(warmed.agents) == agents
    report.add(f"warm of {agents} agents", seconds, "s", goal=1)
    report.add("decisions warmed", warmed.decisions, "")
    await engine.dispose()


async def looked(sessions: Sessions, knowledge: Knowledge, id_: UUID) -> float:
    """Seconds until it is known what an agent may do."""
    async with unit_of_work(sessions) as session:
        began = time.perf_counter()
        door = await store.door(session, [id_])
        await knowledge.situation(session, door, ACTIONS[NAMES[0]], Trigger.MANUAL)
        return time.perf_counter() - began


def expected() -> list[bool]:
    return [decide(agent, action, Trigger.MANUAL).verdict is Verdict.ALLOW for agent, action in MATRIX]


def casbin_engine() -> Callable[[str, str], bool]:
    casbin = importlib.import_module("casbin")
    model = casbin.Model()
    model.load_model_from_text(
        "[request_definition]\nr = sub, act\n[policy_definition]\np = sub, act\n"
        "[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = r.sub == p.sub && r.act == p.act\n"
    )
    engine = casbin.Enforcer(model)
    for (agent, action), allowed in zip(MATRIX, expected(), strict=True):
        if allowed:
            engine.add_policy(agent.maturity.value, action.name)
    return lambda maturity, action: bool(engine.enforce(maturity, action))


def cedar_engine() -> Callable[[str, str], bool]:
    cedar = importlib.import_module("cedarpy")
    policies = "\n".join(
        f'permit(principal == Agent::"{agent.maturity.value}", action == Action::"{action.name}", resource);'
        for (agent, action), allowed in zip(MATRIX, expected(), strict=True)
        if allowed
    )

    def allowed(maturity: str, action: str) -> bool:
        request = {
            "principal": f'Agent::"{maturity}"',
            "action": f'Action::"{action}"',
            "resource": 'Deployment::"here"',
            "context": {},
        }
        return bool(cedar.is_authorized(request, policies, []).allowed)

    return allowed


def others(report: Report) -> None:
    asked = [random.Random(4).choice(MATRIX) for _ in range(OTHERS)]

    def go() -> None:
        for agent, action in asked:
            decide(agent, action, Trigger.MANUAL)

    report.add("the same matrix: decide()", best(go, OTHERS) * 1e6, "us")
    for name, make in (("casbin", casbin_engine), ("cedarpy", cedar_engine)):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed: left out", file=sys.stderr)
            continue
        engine = make()
        assert [engine(agent.maturity.value, action.name) for agent, action in MATRIX] == expected(), name
        began = time.perf_counter()
        for agent, action in asked:
            engine(agent.maturity.value, action.name)
        report.add(f"the same matrix: {name}", (time.perf_counter() - began) / OTHERS * 1e6, "us")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--decisions", type=int, default=200_000, help="decisions of a round (200000)")
    parser.add_argument("--agents", type=int, default=1_000, help="agents that are warmed (1000)")
    parser.add_argument("--json", type=Path, help="write the report here")
    options = parser.parse_args()
    configure("warning", None)
    report = Report()
    pure(report, options.decisions)
    cached(report, options.decisions, options.agents)
    zipf(report, options.decisions)
    others(report)
    folder = Path(tempfile.mkdtemp(prefix="atom-bench-"))
    folder.chmod(0o711)
    postgres = EmbeddedPostgres(folder)
    postgres.start()
    try:
        url = parse_database_url(postgres.endpoint.url)
        migrate(url)
        gc.collect()
        gc.freeze()  # as a process of Atom does once it is wired
        asyncio.run(with_a_database(report, url, options.agents))
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    for row in report.rows:
        goal = (
            f"  (goal {'at most' if row['better'] == 'lower' else 'at least'} {row['goal']:,})" if "goal" in row else ""
        )
        print(f"{row['name']:<45} {row['value']:>14,.3f} {row['unit']}{goal}")
    if options.json:
        options.json.write_text(json.dumps({"rows": report.rows}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
