"""The model layer as the loop sees it."""

from dataclasses import dataclass

from atom.llm.calls import Caller
from atom.llm.notes import note_for
from atom.llm.ports import ChatRequest
from atom.llm.service import LlmService
from atom.runs.ports import Answered, ChosenModel, OnDelta


@dataclass(frozen=True, slots=True)
class LlmModels:
    """`Models` on the real model layer."""

    llm: LlmService

    def choose(self, requested: str | None, requester: str | None) -> ChosenModel:
        choice = self.llm.choose(requested, requester)
        note = note_for(choice.provider, self.llm.settings)
        return ChosenModel(choice.provider.value, choice.model, choice.reason, note)

    async def ask(self, requested: str | None, request: ChatRequest, on_delta: OnDelta, caller: Caller) -> Answered:
        done = await self.llm.complete(requested, request, on_delta, caller)
        return Answered(
            done.completion, done.attempt, done.seconds, done.first_token_seconds, done.record, done.fell_back_from
        )
