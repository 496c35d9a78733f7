"""A run as it happens: text as it is produced, tool calls as they start and end, questions when they come."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atom.cli.output import Output, one_line
from atom.cli.progress import Spinner
from atom.client.follow import RUN_ENDED, Item
from atom.client.models import Delta, Event
from atom.client.order import Order
from atom.client.transcript import Piece, Transcript
from atom.errors import AtomError

ARGUMENT = 80
LONG_WAIT = 2.0
RESULT_LINES = 3
RESULT_CHARS = 160
FROM_CACHE = "(from the response cache: nobody was asked, and it cost nothing; --no-cache asks anew)"


@dataclass(slots=True)
class LiveRun:
    """`last_reply` is the text of the newest model reply: when the answer is the same, it is on the screen already."""

    out: Output
    spinner: Spinner
    transcript: Transcript = field(default_factory=Transcript)
    order: Order = field(default_factory=Order)
    last_reply: str = ""
    answered_by: str = ""
    note: str = ""
    writing: str | None = None  # the step whose text the cursor stands behind

    def show(self, item: Item) -> None:
        self.spinner.stop()
        if isinstance(item, Event):
            self._happened(item.type, item.data)
        for delta in self.order.take(item) if isinstance(item, Delta) else self.order.happened(item):
            self._write(self.transcript.delta(delta))
        if self.writing is None and _type(item) not in RUN_ENDED:
            self.spinner.start(WAITS.get(_type(item), "working"))

    def dropped(self, problem: AtomError, wait: float) -> None:
        """The connection is gone and will be tried again after `wait` seconds. A spinner erases the line it is on."""
        if self.writing is not None:
            if not self.out.tty or wait < LONG_WAIT:
                return
            self._fresh_line()
        self.spinner.start(f"{one_line(problem.message)} Trying again")

    def end(self) -> None:
        self.spinner.stop()
        self._fresh_line()

    def _write(self, piece: Piece | None) -> None:
        if piece is None:
            return
        if piece.restarted or self.writing not in {None, piece.step}:
            self._fresh_line()
        if piece.restarted:
            self.out.line("(that reply was cut; it begins again)", "dim")
        if piece.text:
            self.out.write(piece.text)
            self.writing = None if piece.text.endswith("\n") else piece.step

    def _fresh_line(self) -> None:
        if self.writing is not None:
            self.out.line()
            self.writing = None

    def _say(self, text: str, style: str = "") -> None:
        self._fresh_line()
        self.out.line(text, style)

    def _happened(self, kind: str, data: Mapping[str, Any]) -> None:
        """Events that say nothing to a person at the prompt, and those of a newer server, are not shown."""
        match kind:
            case "run.started":
                self._started(data)
            case "model.replied":
                self._replied(data)
            case "model.failed_over":
                self._say(f"!! {one_line(data.get('from'))}: {one_line(data.get('reason'))}", "yellow")
                self._say(f"asking {one_line(data.get('to'))} instead", "yellow")
            case "model.restarted":
                self._say("the answer broke off and begins anew", "yellow")
            case "run.halted":
                self._say(
                    "Everything is halted: the run goes on when that is lifted. Who and why: atom halt", "bold red"
                )
            case "run.waiting" if data.get("detail"):
                self._say(f"waits: {one_line(data.get('detail'))}", "yellow")
            case "tool.requested":
                self._requested(data)
            case "tool.finished":
                self._finished(data)
            case "approval.requested":
                self._asks(data)

    def _started(self, data: Mapping[str, Any]) -> None:
        self._model(data, "model")
        note = str(data.get("model_note") or "")
        if note and note != self.note:
            self.note = note
            self._say(f"note: {one_line(note)}", "dim")

    def _model(self, data: Mapping[str, Any], word: str) -> None:
        name = "/".join(str(data[key]) for key in ("provider", "model") if data.get(key))
        if name and name != self.answered_by:
            self.answered_by = name
            self._say(f"{word}: {one_line(name)}", "dim")

    def _replied(self, data: Mapping[str, Any]) -> None:
        text = str(data.get("text") or "")
        self._write(self.transcript.reply(str(data.get("step")), text))
        self.last_reply = text or self.last_reply
        self._model(data, "answered by")
        self._fresh_line()
        if data.get("cache_hit") is True:
            self._say(FROM_CACHE, "dim")

    def _requested(self, data: Mapping[str, Any]) -> None:
        call = f"{data.get('tool')} {_arguments(data.get('arguments'))}".rstrip()
        if data.get("verdict") == "deny":
            self._say(f"-x {call}: refused, {one_line(data.get('reason'))}", "yellow")
            return
        self._say(f"-> {call}", "cyan")

    def _finished(self, data: Mapping[str, Any]) -> None:
        """The first lines of the result; the journal has the whole."""
        lines = [line for line in str(data.get("summary") or "done").splitlines() if line.strip()] or ["done"]
        head = "<- " if data.get("ok", True) else "<- failed: "
        shown = [one_line(line, RESULT_CHARS) for line in lines[:RESULT_LINES]]
        if len(lines) > RESULT_LINES:
            shown.append("...")
        self._say(
            f"{head}{shown[0]}" + "".join(f"\n   {line}" for line in shown[1:]), "cyan" if head == "<- " else "red"
        )

    def _asks(self, data: Mapping[str, Any]) -> None:
        call = f"{data.get('tool')} {_arguments(data.get('arguments'))}".rstrip()
        self._say(f"?? approval {data.get('approval_id')}: {call} ({one_line(data.get('reason'))})", "bold yellow")


def _type(item: Item) -> str:
    return item.type if isinstance(item, Event) else "delta"


def _arguments(value: object) -> str:
    """`name="value"` pairs on one line, long values cut."""
    if isinstance(value, str):
        return one_line(value, ARGUMENT)
    if not isinstance(value, Mapping):
        return ""
    return " ".join(
        f"{one_line(key)}={one_line(json.dumps(part, ensure_ascii=False), ARGUMENT)}" for key, part in value.items()
    )


WAITS: Mapping[str, str] = {
    "run.queued": "waiting for a worker",
    "run.started": "thinking",
    "tool.requested": "the tool is working",
    "tool.finished": "thinking",
    "run.waiting": "waiting for another agent",
}
