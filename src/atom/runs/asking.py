"""The model layer as the loop sees it."""

from dataclasses import dataclass

from atom.llm.notes import note_for
from atom.llm.ports import ChatRequest
from atom.llm.service import LlmService
from atom.runs.ports import Answered, ChosenModel, OnDelta
from atom.settings import Provider


@dataclass(frozen=True, slots=True)
class LlmModels:
    """`Models` on the real model layer."""

    llm: LlmService

    def choose(self, requested: str | None) -> ChosenModel:
        choice = self.llm.choose(requested)
        return ChosenModel(choice.provider.value, choice.model, choice.reason, note_for(choice.provider))

    async def ask(self, chosen: ChosenModel, request: ChatRequest, on_delta: OnDelta) -> Answered:
        done = await self.llm.complete(Provider(chosen.provider), request, on_delta)
        return Answered(done.completion, done.attempt, done.seconds, done.first_token_seconds)
