"""Responses: one object with its items, or the events that build it."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from atom.errors import AtomError
from atom.runs.journal import read
from atom.runs.models import Run, RunStatus, Step
from atom.web.openai.errors import GoingAwayError, RunFailedError
from atom.web.openai.outcome import Links, extension, tokens, words
from atom.web.openai.requests import RESPONSE_PREFIX
from atom.web.openai.watching import Seen, Standing, Text, ToolBegan, ToolEnded

BEAT = b": still working\n\n"
STATUSES = {
    RunStatus.QUEUED: "queued",
    RunStatus.COMPLETED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "cancelled",
}
Item = dict[str, Any]


def response_id(run_id: UUID) -> str:
    return f"{RESPONSE_PREFIX}{run_id}"


@dataclass(frozen=True, slots=True)
class Frame:
    """What every form of one response says alike."""

    run_id: UUID
    model: str
    created: int
    before: str | None = None
    instructions: str | None = None

    def response(self, status: str, output: Sequence[Item], **more: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "id": response_id(self.run_id),
            "object": "response",
            "created_at": self.created,
            "status": status,
            "model": self.model,
            "output": list(output),
            "error": None,
            "incomplete_details": None,
            "instructions": self.instructions,
            "metadata": {},
            "parallel_tool_calls": True,
            "previous_response_id": self.before,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": None,
        }
        return fields | more


def response(frame: Frame, standing: Standing, steps: Sequence[Step], links: Links, *, foreground: bool) -> Item:
    """As the run stands. `foreground`: its client waits for nothing more, so a wait is told as the answer."""
    run, status = standing.run, RunStatus(standing.run.status)
    output = _journaled(run, steps)
    more: dict[str, Any] = {"usage": _usage(standing), "atom": extension(standing, links)}
    if status in {RunStatus.FAILED, RunStatus.CANCELLED}:
        try:
            words(standing, links)
        except RunFailedError as error:
            if status is RunStatus.FAILED:
                more["error"] = {"code": "server_error", "message": str(error)}
        return frame.response(STATUSES[status], output, **more)
    if status is not RunStatus.COMPLETED and not foreground:
        return frame.response(STATUSES.get(status, "in_progress"), output, **more)
    if status is not RunStatus.COMPLETED or not output or _text_of(output[-1]) != run.answer:
        output = [*output[:-1]] if _is_final(output, run) else output
        output.append(message(run.id, "final", words(standing, links)))
    return frame.response(_ended(standing), output, **more, **_details(standing))


def message(run_id: UUID, step: str, text: str, *, status: str = "completed") -> Item:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": f"msg_{run_id.hex}_{step}", "type": "message", "status": status, "role": "assistant", "content": [part]
    }  # fmt: skip


def call(run_id: UUID, step: str, name: str, arguments: str) -> Item:
    """A tool that the agent used on this side: the protocol's word for that is a call of a remote server."""
    return {
        "id": f"mcp_{run_id.hex}_{step}", "type": "mcp_call", "server_label": "atom", "name": name,
        "arguments": arguments, "output": None, "error": None, "status": "in_progress", "approval_request_id": None,
    }  # fmt: skip


def ended_call(item: Item, *, ok: bool, summary: str) -> Item:
    said = {"output": summary, "status": "completed"} if ok else {"error": summary, "status": "failed"}
    return {**item, **said}


@dataclass(slots=True)
class ResponseEvents:
    """`whole`: nothing is shown before the answer is final, because half of it would not fit its schema."""

    frame: Frame
    links: Links
    whole: bool
    _number: int = field(default=0, init=False)
    _output: list[Item] = field(default_factory=list, init=False)
    _open: Item | None = field(default=None, init=False)  # the message that is being written, the last of the output
    _step: str = field(default="", init=False)
    _restarts: int = field(default=0, init=False)

    async def render(self, happening: AsyncIterator[Seen]) -> AsyncIterator[bytes]:
        yield self._event("response.created", response=self.frame.response("in_progress", ()))
        yield self._event("response.in_progress", response=self.frame.response("in_progress", ()))
        async for seen in happening:
            if isinstance(seen, Standing):
                for part in self._end(seen):
                    yield part
                return
            for part in self._show(seen):
                yield part
        yield self.failed(GoingAwayError("This process is going away; the run goes on."))

    def failed(self, error: AtomError) -> bytes:
        said = {"code": "server_error", "message": str(error)}
        return self._event("response.failed", response=self.frame.response("failed", self._output, error=said))

    def _show(self, seen: Seen) -> list[bytes]:
        match seen:
            case Text() if not self.whole:
                return self._text(seen)
            case ToolBegan():
                item = call(self.frame.run_id, seen.step, seen.name, json.dumps(seen.arguments, ensure_ascii=False))
                return [*self._close(), *self._add(item)]
            case ToolEnded():
                return self._ended(seen)
        return [BEAT]

    def _text(self, seen: Text) -> list[bytes]:
        parts: list[bytes] = []
        if self._open is not None and (seen.restarted or seen.step != self._step):
            parts += self._close(status="incomplete" if seen.restarted else "completed")
        if self._open is None:
            parts += self._begin(seen.step)
        assert self._open is not None
        self._open["content"][0]["text"] += seen.text
        parts.append(self._part("response.output_text.delta", delta=seen.text, logprobs=[]))
        return parts

    def _begin(self, step: str) -> list[bytes]:
        self._step, self._restarts = step, self._restarts + 1
        item = message(self.frame.run_id, f"{step}_{self._restarts}", "", status="in_progress")
        added = self._add({**item, "content": []})
        self._open = self._output[-1] = item
        empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        return [*added, self._part("response.content_part.added", part=empty)]

    def _close(self, *, status: str = "completed") -> list[bytes]:
        """The message that is being written is whole, or void."""
        item, self._open = self._open, None
        if item is None:
            return []
        item["status"] = status
        part = item["content"][0]
        place = {"item_id": item["id"], "output_index": len(self._output) - 1}
        return [
            self._event("response.output_text.done", **place, content_index=0, text=part["text"], logprobs=[]),
            self._event("response.content_part.done", **place, content_index=0, part=part),
            self._event("response.output_item.done", output_index=place["output_index"], item=item),
        ]

    def _add(self, item: Item) -> list[bytes]:
        self._output.append(item)
        return [self._event("response.output_item.added", output_index=len(self._output) - 1, item=item)]

    def _ended(self, seen: ToolEnded) -> list[bytes]:
        id_ = call(self.frame.run_id, seen.step, seen.name, "")["id"]
        for index, item in enumerate(self._output):
            if item["id"] == id_ and item["status"] == "in_progress":
                self._output[index] = ended_call(item, ok=seen.ok, summary=seen.summary)
                return [self._event("response.output_item.done", output_index=index, item=self._output[index])]
        return [BEAT]

    def _end(self, standing: Standing) -> list[bytes]:
        shown = self._open["content"][0]["text"].strip() if self._open is not None else ""
        parts = self._close()
        more: dict[str, Any] = {"usage": _usage(standing), "atom": extension(standing, self.links)}
        try:
            said = words(standing, self.links)
        except RunFailedError as error:
            failed = {"code": "server_error", "message": str(error)}
            whole = self.frame.response("failed", self._output, error=failed, **more)
            return [*parts, self._event("response.failed", response=whole)]
        if said != shown:
            rest = said.removeprefix(shown).strip() if shown and said.startswith(shown) else said
            parts += [*self._text(Text("final", rest, restarted=False)), *self._close()]
        status = _ended(standing)
        whole = self.frame.response(status, self._output, **more, **_details(standing))
        return [*parts, self._event(f"response.{status}", response=whole)]

    def _part(self, type_: str, **fields: Any) -> bytes:
        place = {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1, "content_index": 0}
        return self._event(type_, **place, **fields)

    def _event(self, type_: str, **fields: Any) -> bytes:
        said = json.dumps({"type": type_, "sequence_number": self._number, **fields}, ensure_ascii=False)
        self._number += 1
        return f"event: {type_}\ndata: {said}\n\n".encode("utf-8", "replace")


def _journaled(run: Run, steps: Sequence[Step]) -> list[Item]:
    """The journal as items: what the model said, the tools it used. Of data, only the answer is shown."""
    loaded, items = read(steps), list[Item]()
    whole = (run.options or {}).get("response_schema") is not None
    for turn, reply in sorted(loaded.recorded.replies.items()):
        if reply.text.strip() and not whole:
            items.append(message(run.id, f"turn-{turn}", reply.text.strip()))
        for index, asked in enumerate(reply.tool_calls):
            item = call(run.id, f"turn-{turn}.call-{index}", asked.name, asked.arguments)
            record = loaded.recorded.results.get((turn, index))
            if record is not None:
                item = ended_call(item, ok=record.code is None, summary=record.content)
            items.append(item)
    return items


def _is_final(output: Sequence[Item], run: Run) -> bool:
    """Whether the last item is the beginning of the answer, which has more to it."""
    return bool(output) and bool(run.answer) and (run.answer or "").startswith(_text_of(output[-1]) or "\0")


def _text_of(item: Item) -> str:
    return str(item["content"][0]["text"]) if item["type"] == "message" else ""


def _ended(standing: Standing) -> str:
    return "incomplete" if standing.cut else "completed"


def _details(standing: Standing) -> dict[str, Any]:
    return {"incomplete_details": {"reason": "max_output_tokens"}} if standing.cut else {}


def _usage(standing: Standing) -> dict[str, Any] | None:
    counted = tokens(standing)
    if counted is None:
        return None
    return {
        "input_tokens": counted[0],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": counted[1],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": sum(counted),
    }
