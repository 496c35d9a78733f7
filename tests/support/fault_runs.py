"""One run for each fault of the catalogue, all at once on one Atom, and what was seen of each from outside."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from llmock.scenarios import Match, Reply
from llmock.testing import LLMockServer

from atom.client.models import Delta
from atom.client.transcript import Transcript
from atom.llm.testing import CannedProvider
from atom.settings import Provider
from atom.web.testing import RunningAtom
from tests.support.fault_catalogue import WIRES, Case, Mode
from tests.support.planted import planted
from tests.support.sse import watching

SECRET = planted("provider faults", "secret-of")
BACKUP, BACKUP_TEXT = "backup", "Another provider gives this whole answer."
PATHS = {Provider.OPENAI: "/v1", Provider.ANTHROPIC: "/anthropic", Provider.GEMINI: "/gemini"}
AT_ONCE = 24
RUN_SECONDS = 60.0
COUNT_SECONDS = 15.0


@dataclass(slots=True)
class Screen:
    """What a viewer sees: the text of the present step, and the texts that were taken back."""

    transcript: Transcript = field(default_factory=Transcript)
    text: str = ""
    void: list[str] = field(default_factory=list)
    step: str = ""

    def show(self, piece: Any) -> None:
        if piece is None:
            return
        if piece.restarted:
            self.void.append(self.text)
        fresh = piece.restarted or piece.step != self.step
        self.text = piece.text if fresh else self.text + piece.text
        self.step = piece.step


@dataclass(slots=True)
class Observed:
    """`asked`: requests the fake counted, of the first provider and of the backup; `calls`: rows of the ledger."""

    case: Case
    run: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    screen: Screen = field(default_factory=Screen)
    asked: tuple[int, int] = (0, 0)
    canned: int = 0
    streamed: set[bool] = field(default_factory=set)  # how the first provider was asked
    keys: dict[str, str] = field(default_factory=dict)
    written: bool = False

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for name, data in self.events if name == kind]

    @property
    def rows(self) -> tuple[int, int]:
        providers = [call["provider"] for call in self.calls]
        return providers.count(self.case.wire), providers.count(Provider.COMPATIBLE)


@dataclass(frozen=True, slots=True)
class Bench:
    """The Atom and the fake provider that it asks."""

    atom: RunningAtom
    fake: LLMockServer
    agent: str

    async def add_key(self, name: str, provider: Provider, url: str, **fields: Any) -> None:
        body = {"name": name, "provider": provider, "secret": f"{SECRET}-{name}", "base_url": url, **fields}
        answer = await self.atom.http.post("/api/keys", json=body)
        assert answer.status_code == 201, answer.text

    async def watch(self, case: Case) -> Observed:
        """One run of a case, to its end."""
        seen = Observed(case)
        async with self._place(case) as canned:
            task = f"Answer in the case {case.model}, please."
            run = await self.atom.start(self.agent, task, model=f"{case.wire}/{case.model}")
            async with asyncio.timeout(RUN_SECONDS), watching(self.atom.http, run["id"]) as items:
                async for item in items:
                    self._note(seen, item.type, item.data)
            await self._collect(seen, run["id"], canned)
        return seen

    @asynccontextmanager
    async def _place(self, case: Case) -> AsyncIterator[CannedProvider | None]:
        """The fault where the first provider is, and the keys that only this case may use."""
        async with AsyncExitStack() as stack:
            canned, url = None, self.fake.url
            if case.fault.canned is not None:
                canned = await stack.enter_async_context(CannedProvider([[case.fault.canned(case.wire)]]))
                url = canned.url
            self.fake.state.scenarios.add(*case.behaviours())
            for priority, name in enumerate(case.own_keys):
                await self.add_key(
                    f"{case.model}-{name}", case.wire, url + PATHS[case.wire],
                    models=[case.model], priority=priority, options=_options(case.mode),
                )  # fmt: skip
            yield canned

    def _note(self, seen: Observed, kind: str, data: Any) -> None:
        if kind == "delta":
            seen.screen.show(seen.screen.transcript.delta(Delta.model_validate(data)))
        elif kind != "comment":
            seen.events.append((kind, data["data"]))
            if kind == "model.replied":
                seen.screen.show(seen.screen.transcript.reply(data["data"]["step"], data["data"]["text"]))

    async def _collect(self, seen: Observed, run_id: str, canned: CannedProvider | None) -> None:
        seen.run = await self.atom.run(run_id)
        seen.steps = await self.atom.steps(run_id)
        seen.calls = (await self.atom.http.get(f"/api/runs/{run_id}/calls")).json()["items"]
        seen.written = any(self.atom.folder(seen.run["agent_id"]).glob("*"))
        seen.canned = len(canned.requests) if canned else 0

    async def count(self, found: Iterable[Observed]) -> None:
        """What the fake was asked. It notes a request when it is done with it, so this comes last."""
        records = await asyncio.to_thread(self.fake.state.journal.records, wait=COUNT_SECONDS)
        first = Counter(record.model for record in records)
        backup = [json.dumps(record.body) for record in records if record.model == BACKUP]
        for seen in found:
            model = seen.case.model
            seen.streamed = {record.stream for record in records if record.model == model}
            seen.asked = (first[model] + seen.canned, sum(model in body for body in backup))


async def prepare(atom: RunningAtom, fake: LLMockServer) -> Bench:
    """Keys for every wire and mode, and the backup as the one line of the list of routes."""
    agent = await atom.agent("worker", tools=["write_file"], maturity="autonomous")
    bench = Bench(atom, fake, agent["id"])
    for wire in WIRES:
        for mode in Mode:
            await bench.add_key(
                f"{mode}-{wire}", wire, fake.url + PATHS[wire], models=[f"{mode}-*"], options=_options(mode)
            )
    await bench.add_key("backup", Provider.COMPATIBLE, fake.url + "/groq/openai/v1", models=[BACKUP])
    answer = await atom.http.put("/api/routes", json={"routes": [{"provider": "compatible", "model": BACKUP}]})
    assert answer.status_code == 200, answer.text
    fake.state.scenarios.add(Reply(text=BACKUP_TEXT, times=None, match=Match(model=BACKUP)))
    return bench


async def watch_all(bench: Bench, cases: Iterable[Case]) -> dict[str, Observed]:
    """By the id of the case. The slow ones begin first."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> Observed:
        async with room:
            return await bench.watch(case)

    ordered = sorted(cases, key=lambda case: case.fault.code != "llm_timeout")
    found = await asyncio.gather(*(one(case) for case in ordered))
    await bench.count(found)
    keys = {key["name"]: key["status"] for key in (await bench.atom.http.get("/api/keys?limit=200")).json()["items"]}
    for seen in found:
        seen.keys = {name: status for name, status in keys.items() if name.startswith(seen.case.model)}
    return {seen.case.id: seen for seen in found}


def _options(mode: Mode) -> dict[str, str]:
    return {"streaming": "off"} if mode is Mode.WHOLE else {}
