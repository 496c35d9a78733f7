"""The built-in demo model: it chooses an action, and copies its answer out of a line that a tool found.

What it can do and cannot is in `LIMITS_NOTE`. It never shows a sentence that the model made up; what it shows from a
file is verbatim, with its place.
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from atom.kit.ids import new_id
from atom.llm.access import Access
from atom.llm.adapters import local_answer, local_weights
from atom.llm.adapters.local_actions import Action, feasible
from atom.llm.adapters.local_dialogue import Done, Situation, found_lines, reading, situation
from atom.llm.adapters.local_file import LocalFileModel, build_file_model
from atom.llm.adapters.local_grammar import choice_grammar, copy_grammar, pieces
from atom.llm.adapters.local_process import Deadlines, LocalProcess
from atom.llm.adapters.local_prompts import ANSWER, MAX_LINE_BYTES, UNRELATED, act_prompt, copy_prompt, cut, printable
from atom.llm.choice import LOCAL_MODEL
from atom.llm.errors import ModelRequestError
from atom.llm.notes import LOCAL_NOTE
from atom.llm.ports import ChatRequest, Completion, FinishReason, TextDelta, ToolCall, Usage
from atom.settings import LlmSettings, Provider

LIMITS_NOTE = LOCAL_NOTE
ACT_SLOT, COPY_SLOT = 0, 1
MAX_QUERY_TOKENS = 200
MAX_COPY_TOKENS = 300
LABELS = (
    *(ANSWER, "search_text", "list_files", "current_time", "calculate"),
    *("read_file", "delete_file", "write_file", "http_get"),
)


def build(access: Access, settings: LlmSettings) -> "LocalChatModel | LocalFileModel":
    """Nothing is loaded yet: the process starts with the first request or with `prime`."""
    if settings.local.model_path is not None:
        return build_file_model(settings.local.model_path.absolute(), settings)
    return LocalChatModel(LocalProcess(local_weights.language_model, Deadlines(turn=settings.timeout / 2)))


class LocalChatModel:
    """`ChatModel` of the provider `local`."""

    provider = Provider.LOCAL

    def __init__(self, process: LocalProcess) -> None:
        self._process = process
        self._bias: Mapping[str, float] | None = None

    async def prime(self) -> None:
        """Loads the model and both sets of worked examples, so that the first question is as quick as the next."""
        tally = _Tally()
        await self._biases(tally)
        async for _ in self._copied("x", "x", tally):
            continue

    async def stream(self, request: ChatRequest) -> AsyncGenerator[TextDelta | Completion, None]:
        self._check(request)
        yield TextDelta("")  # a sign of life: the first call also loads the model
        now, tally = situation(request), _Tally()
        move = await self._move(now, tally)
        if isinstance(move, ToolCall):
            yield self._completion("", (move,), tally)
            return
        text = ""
        async with aclosing(move):
            async for piece in move:
                text += piece
                yield TextDelta(piece)
        yield self._completion(text, (), tally)

    async def models(self) -> list[str]:
        return [LOCAL_MODEL]

    async def aclose(self) -> None:
        await self._process.aclose()

    async def _move(self, now: Situation, tally: "_Tally") -> "ToolCall | AsyncGenerator[str, None]":
        """The next call, or what there is to say."""
        if not now.done:
            return await self._act(now, tally)
        search, last = now.last("search_text"), now.done[-1]
        if search is None or search.failed or last.name not in {"search_text", "read_file"}:
            return _words(local_answer.said(last))
        hits = found_lines(search.content)
        if not hits:
            return _words(local_answer.nothing(now, search))
        if last.name == "search_text" and "read_file" in now.tools:
            return _call("read_file", reading(hits[0], now))
        return self._answer(now, search, tally)

    async def _act(self, now: Situation, tally: "_Tally") -> "ToolCall | AsyncGenerator[str, None]":
        actions = {action.name: action for action in feasible(now)}
        scores = await self._scores(act_prompt(now.question), tally)
        biases = await self._biases(tally)
        chosen = actions[max(actions, key=lambda name: scores[name] - biases[name])]
        if chosen.name == ANSWER:
            return _words(local_answer.GREETING)
        arguments = dict(chosen.fixed)
        if chosen.argument:
            arguments[chosen.argument] = await self._argument(chosen, now, tally)
        return _call(chosen.name, arguments)

    async def _argument(self, action: Action, now: Situation, tally: "_Tally") -> str:
        """Words of the request, and nothing else. A query begins as the question does: `How` asks for a command."""
        if len(action.options) == 1:
            return action.options[0]
        question = now.question.rstrip(".?! ")
        words = copy_grammar(question, pieces(question), from_start=True)
        grammar = words if action.free else choice_grammar(action.options)
        prompt = f"{act_prompt(now.question)}{action.name}: "
        parts = [part async for part in self._generate(prompt, grammar, ACT_SLOT, MAX_QUERY_TOKENS, tally)]
        return "".join(parts).strip()

    async def _answer(self, now: Situation, search: Done, tally: "_Tally") -> AsyncGenerator[str, None]:
        """The quote first: it needs no model. Then the model's cut of it, and the runners-up."""
        found = local_answer.searched(now, search)
        if found is None:
            yield local_answer.nothing(now, search)
            return
        best, hits = found
        read = now.last("read_file")
        quote = local_answer.continued(best, found_lines(read.content) if read is not None else hits)
        yield local_answer.quoted(quote)
        async with aclosing(self._short(now.question, best.text, tally)) as parts:
            async for part in parts:
                yield part
        yield local_answer.others(hits, quote)

    async def _short(self, question: str, text: str, tally: "_Tally") -> AsyncGenerator[str, None]:
        """The cut, introduced. Nothing when the model keeps the whole line: it stands there already."""
        whole, held, opened = text.strip(), "", False
        async with aclosing(self._copied(question, text, tally)) as parts:
            async for part in parts:
                held += part
                if not whole.startswith(held):
                    yield held if opened else f"{local_answer.IN_SHORT}{held}"
                    opened, held, whole = True, "", "\n"  # from here on every piece goes out as it comes
        if held and held.strip() != whole:
            yield held if opened else f"{local_answer.IN_SHORT}{held}"

    async def _copied(self, question: str, text: str, tally: "_Tally") -> AsyncGenerator[str, None]:
        """A contiguous run of the words of a line, as it is chosen. A line with control characters is not cut."""
        line = cut(text.strip(), MAX_LINE_BYTES)
        spans = pieces(line)
        if not spans or line != printable(line):
            return
        grammar = copy_grammar(line, spans)
        prompt = copy_prompt(question, line)
        async with aclosing(self._generate(prompt, grammar, COPY_SLOT, MAX_COPY_TOKENS, tally)) as parts:
            async for part in parts:
                yield part

    async def _generate(
        self, prompt: str, grammar: str, slot: int, tokens: int, tally: "_Tally"
    ) -> AsyncGenerator[str, None]:
        request = {"op": "copy", "prompt": prompt, "grammar": grammar, "slot": slot, "tokens": tokens}
        async with aclosing(self._process.ask(request)) as messages:
            async for message in messages:
                if part := message.get("text", "").replace("\n", ""):
                    yield part
                tally.add(message.get("done"))

    async def _scores(self, prompt: str, tally: "_Tally") -> Mapping[str, float]:
        scores: Mapping[str, float] = {}
        request = {"op": "score", "prompt": prompt, "slot": ACT_SLOT, "labels": list(LABELS)}
        async for message in self._process.ask(request):
            if done := message.get("done"):
                scores = done["scores"]
                tally.add(done)
        return scores

    async def _biases(self, tally: "_Tally") -> Mapping[str, float]:
        """What each label scores when nothing is asked (Zhao et al., "Calibrate Before Use", 2021).

        Without it 28 of 36 requests get the right action, with it 36.
        """
        if self._bias is None:
            free = [await self._scores(act_prompt(text), tally) for text in UNRELATED]
            self._bias = {label: sum(scores[label] for scores in free) / len(free) for label in LABELS}
        return self._bias

    def _check(self, request: ChatRequest) -> None:
        if request.response_schema is not None:
            raise ModelRequestError(
                "The built-in demo model gives no structured output: it would be well-formed and wrong.",
                hint="Set OPENAI_API_KEY or ANTHROPIC_API_KEY.",
                provider=self.provider,
                model=request.model,
            )

    def _completion(self, text: str, calls: Sequence[ToolCall], tally: "_Tally") -> Completion:
        return Completion(
            text=text,
            tool_calls=tuple(calls),
            finish_reason=FinishReason.TOOL_CALLS if calls else FinishReason.STOP,
            usage=Usage(tally.input_tokens, tally.output_tokens),
            provider=self.provider,
            model=LOCAL_MODEL,
            notes={"note": LIMITS_NOTE},
        )


class _Tally:
    """The tokens of one request, over the turns that it took."""

    def __init__(self) -> None:
        self.input_tokens = self.output_tokens = 0

    def add(self, done: Mapping[str, Any] | None) -> None:
        if done:
            self.input_tokens += done.get("input_tokens", 0)
            self.output_tokens += done.get("output_tokens", 0)


def _call(name: str, arguments: Mapping[str, Any]) -> ToolCall:
    return ToolCall(f"call_{new_id().hex}", name, json.dumps(arguments))


async def _words(text: str) -> AsyncGenerator[str, None]:
    yield text
