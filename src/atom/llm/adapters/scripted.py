"""A model that says what a file tells it to (`script.py`): for tests of a whole server, and drills. Never a default."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from atom.kit.clock import Clock, SystemClock, rfc3339
from atom.llm.access import Access
from atom.llm.adapters.script import (
    AttemptsSpec,
    Position,
    Reply,
    ScriptSpec,
    digest_of,
    find,
    load,
    play,
    position_of,
    to_reply,
)
from atom.llm.choice import SCRIPTED_MODEL
from atom.llm.errors import ModelError, ModelNotConfiguredError, ModelRequestError, ModelUnavailableError
from atom.llm.ports import ChatRequest, Completion, TextDelta
from atom.settings import LlmSettings, Provider

MAX_COUNTED = 10_000


@dataclass(slots=True)
class ScriptFileModel:
    """Chooses by the request alone, so that any process gives the same answer to it."""

    script: ScriptSpec
    ledger: Path | None
    clock: Clock
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def provider(self) -> str:
        return Provider.SCRIPTED

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        position, digest = position_of(request), digest_of(request)
        reply = self._reply(request, position, digest)
        answered = False
        try:
            async for item in play(reply, request):
                if isinstance(item, Completion):
                    answered = True
                    self._record(request, position, digest, "answered", item)
                yield item
        except ModelError as error:
            self._record(request, position, digest, error.code, None)
            raise
        except (asyncio.CancelledError, GeneratorExit):  # the caller hung up: it was asked all the same
            if not answered:
                self._record(request, position, digest, "aborted", None)
            raise

    async def models(self) -> list[str]:
        return [SCRIPTED_MODEL]

    async def aclose(self) -> None:
        """Nothing is open."""

    def _reply(self, request: ChatRequest, position: Position, digest: str) -> Reply:
        spec = find(self.script, position)
        if spec is None:
            message = f"The script has no reply for turn {position.turns} of this conversation."
            raise ModelRequestError(message, provider=self.provider, model=request.model)
        if isinstance(spec, AttemptsSpec):
            spec = spec.attempts[min(self._asked_before(digest), len(spec.attempts) - 1)]
        return to_reply(spec, request, position)

    def _asked_before(self, digest: str) -> int:
        if self.ledger is None:
            return self.asked[digest]
        if not self.ledger.is_file():
            return 0
        with self.ledger.open(encoding="utf-8") as lines:
            return sum(1 for line in lines if f'"{digest}"' in line)

    def _record(
        self, request: ChatRequest, position: Position, digest: str, outcome: str, completion: Completion | None
    ) -> None:
        if len(self.asked) > MAX_COUNTED:
            self.asked.clear()
        self.asked[digest] += 1
        if self.ledger is None:
            return
        line = {
            "at": rfc3339(self.clock.now()),
            "pid": os.getpid(),
            "digest": digest,
            "model": request.model,
            "turns": position.turns,
            "steps": position.steps,
            "user": position.user[:200],
            "outcome": outcome,
            "text": completion.text[:200] if completion else "",
            "tool_calls": [call.name for call in completion.tool_calls] if completion else [],
            "usage": asdict(completion.usage) if completion else None,
        }
        try:
            with self.ledger.open("a", encoding="utf-8") as file:  # one short write in append mode: lines never mix
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            message = f"The ledger {self.ledger} of the script cannot be written: {error.strerror}."
            raise ModelUnavailableError(message, provider=self.provider, model=request.model) from error


def build(access: Access, settings: LlmSettings, clock: Clock | None = None) -> ScriptFileModel:
    """Raises ModelNotConfiguredError when there is no such file or it is not a script."""
    if settings.scripted_path is None:
        raise ModelNotConfiguredError(
            "ATOM_LLM__SCRIPTED_PATH is not set.", hint="Name the JSON file with the replies."
        )
    path = settings.scripted_path.expanduser().absolute()
    script = load(path)
    return ScriptFileModel(script, path.parent / script.ledger if script.ledger else None, clock or SystemClock())
