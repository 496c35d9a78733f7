"""Chat completions: one object, or chunks of it."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from atom.errors import AtomError
from atom.web.openai.errors import GoingAwayError, RunFailedError, in_stream
from atom.web.openai.outcome import Links, extension, tokens, words
from atom.web.openai.watching import Seen, Standing, Text

BEAT = b": still working\n\n"
DONE = b"data: [DONE]\n\n"
AGAIN = "[The answer was interrupted and begins again.]"
BREAK = "\n\n"


def completion_id(run_id: UUID) -> str:
    return f"chatcmpl-{run_id}"


def completion(model: str, created: int, standing: Standing, links: Links) -> dict[str, Any]:
    """Raises RunFailedError."""
    message = {"role": "assistant", "content": words(standing, links), "refusal": None}
    return {
        "id": completion_id(standing.run.id),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(standing)}],
        "usage": _usage(standing),
        "atom": extension(standing, links),
    }


@dataclass(slots=True)
class ChatChunks:
    """`whole`: nothing is shown before the answer is final, because half of it would not fit its schema."""

    run_id: UUID
    model: str
    created: int
    links: Links
    whole: bool
    with_usage: bool
    _step: str | None = field(default=None, init=False)
    _shown: str = field(default="", init=False)  # of the present step
    _any: bool = field(default=False, init=False)

    async def render(self, happening: AsyncIterator[Seen]) -> AsyncIterator[bytes]:
        yield self._chunk({"role": "assistant", "content": ""})
        async for seen in happening:
            if isinstance(seen, Standing):
                for part in self._end(seen):
                    yield part
                return
            if isinstance(seen, Text) and not self.whole:
                yield self._text(seen)
            elif not isinstance(seen, Text):
                yield BEAT
        yield self.failed(GoingAwayError("This process is going away; the run goes on."))

    def failed(self, error: AtomError) -> bytes:
        return _data(in_stream(error))

    def _text(self, seen: Text) -> bytes:
        """What was sent cannot be taken back: that the answer begins anew is said in words."""
        before = ""
        if seen.restarted:
            before = f"{BREAK}{AGAIN}{BREAK}" if self._shown else ""
            self._shown = ""
        elif seen.step != self._step and self._any:
            before = BREAK
        if seen.step != self._step:
            self._step, self._shown = seen.step, ""
        self._shown += seen.text
        self._any = True
        return self._chunk({"content": before + seen.text})

    def _end(self, standing: Standing) -> list[bytes]:
        try:
            said = words(standing, self.links)
        except RunFailedError as error:
            return [self.failed(error)]
        rest = self._rest(said)
        parts = [self._chunk({"content": rest})] if rest else []
        parts.append(self._chunk({}, finish=_finish(standing), atom=extension(standing, self.links)))
        if self.with_usage:
            parts.append(_data({**self._head(), "choices": [], "usage": _usage(standing)}))
        return [*parts, DONE]

    def _rest(self, said: str) -> str:
        """Of the final words, what was not shown yet."""
        shown = self._shown.strip()
        if not shown:
            return said if not self._any else BREAK + said
        return said.removeprefix(shown) if said.startswith(shown) else BREAK + said

    def _chunk(self, delta: dict[str, Any], *, finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        usage = {"usage": None} if self.with_usage else {}
        return _data({**self._head(), "choices": [choice], **usage, **more})

    def _head(self) -> dict[str, Any]:
        return {
            "id": completion_id(self.run_id),
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"


def _finish(standing: Standing) -> str:
    return "length" if standing.cut else "stop"


def _usage(standing: Standing) -> dict[str, int] | None:
    counted = tokens(standing)
    if counted is None:
        return None
    return {"prompt_tokens": counted[0], "completion_tokens": counted[1], "total_tokens": sum(counted)}
