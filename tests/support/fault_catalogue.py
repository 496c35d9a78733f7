"""Every fault that the fake provider can inject, on every wire and in both modes, and what Atom owes in each case."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from llmock.scenarios import (
    Behavior,
    Delay,
    Fail,
    Match,
    Reply,
    SlowFirstToken,
    StreamFault,
    StreamFaultKind,
    ToolCall,
    ToolFault,
)

from atom.llm.testing import http
from atom.settings import Provider

WIRES = (Provider.OPENAI, Provider.ANTHROPIC, Provider.GEMINI)
FIRST_BYTE, IDLE, TOTAL = 4.0, 3.0, 8.0
TEXT = "one two three four five six seven eight nine ten"
WRITE = ToolCall("write_file", {"path": "made.txt", "content": "written by a call that is long enough to be cut"})
ENDLESS = 60.0

Place = int | Mapping[Provider, int]
RARE = {402, 405, 413, 425, 501, 502, 504}
MIDDLE = 5  # chunks: some text was shown on every wire
IN_ARGUMENTS = {Provider.OPENAI: 4, Provider.ANTHROPIC: 4, Provider.GEMINI: 0}
BEFORE_FINISH = {Provider.OPENAI: 11, Provider.ANTHROPIC: 14, Provider.GEMINI: 9}
BEHIND_FINISH = {Provider.OPENAI: 12, Provider.ANTHROPIC: 15}


class Mode(StrEnum):
    STREAM = "stream"
    WHOLE = "whole"


class Duty(StrEnum):
    """What Atom must do."""

    ANSWER = "takes the answer"
    FALL_OVER = "asks the next route"
    FAIL = "fails the run with the provider's error"
    NEXT_KEY = "marks the key, asks the provider's next one"
    NO_KEY = "marks the key, fails the run"


BOTH = (Mode.STREAM, Mode.WHOLE)
Make = Callable[[Match, Provider], tuple[Behavior, ...]]


@dataclass(frozen=True, slots=True)
class Fault:
    """`code`: of the error of the attempt. `shown`: text of it was on the screen. `asked`: requests the first provider
    gets. `canned`: an answer that the fake cannot give, as bytes. `rare`: as another one in all that Atom does."""

    name: str
    duty: Duty
    make: Make = lambda match, wire: ()
    code: str | None = None
    modes: tuple[Mode, ...] = BOTH
    wires: tuple[Provider, ...] = WIRES
    shown: bool = False
    asked: int = 1
    refused_calls: tuple[str, ...] = ()
    answer: str | None = TEXT
    canned: Callable[[Provider], bytes] | None = None
    rare: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    fault: Fault
    wire: Provider
    mode: Mode
    number: int = field(compare=False)

    @property
    def model(self) -> str:
        """A model of its own: no case shares a circuit or a scripted fault with another."""
        return f"{self.group}-{self.wire}-{self.number:03d}"

    @property
    def group(self) -> str:
        """Which keys may be used for it: its own, or those of its mode."""
        return "own" if self.own_keys else self.mode.value

    @property
    def own_keys(self) -> tuple[str, ...]:
        """In the order of trying."""
        if self.fault.duty is Duty.NEXT_KEY:
            return ("first", "second")
        return ("first",) if self.fault.duty is Duty.NO_KEY or self.fault.canned else ()

    @property
    def id(self) -> str:
        return f"{self.wire}-{self.mode}-{self.fault.name.replace(' ', '_')}"

    def behaviours(self) -> tuple[Behavior, ...]:
        return self.fault.make(Match(model=self.model), self.wire)


def status(code: int, duty: Duty, error: str, **extra: Any) -> Fault:
    asked = 2 if duty is Duty.NEXT_KEY else 1

    def make(match: Match, _: Provider) -> tuple[Behavior, ...]:
        return (Fail(code, match=match, **extra), Reply(text=TEXT, times=None, match=match))

    after = f" retry after {extra['retry_after']:g} s" if "retry_after" in extra else ""
    name = f"{code}{after}" + (" no other key" if duty is Duty.NO_KEY else "")
    return Fault(name, duty, make, error, asked=asked, rare=code in RARE)


def broken_stream(kind: StreamFaultKind, place: Place, code: str, *, where: str, **extra: Any) -> Fault:
    """A text that breaks. `where` is for the name."""

    def make(match: Match, wire: Provider) -> tuple[Behavior, ...]:
        fault = StreamFault(kind, after_chunks=_at(place, wire), stall_seconds=ENDLESS, match=match)
        return (Reply(text=TEXT, match=match), fault)

    return Fault(f"{kind} {where}", Duty.FALL_OVER, make, code, modes=(Mode.STREAM,), shown=place != 0, **extra)


def broken_call(kind: StreamFaultKind, code: str, *, calls: int = 1) -> Fault:
    """A tool call that breaks in its arguments; with two, the first of them is complete."""
    whole_first = {Provider.OPENAI: 12, Provider.ANTHROPIC: 14, Provider.GEMINI: 0}

    def make(match: Match, wire: Provider) -> tuple[Behavior, ...]:
        place = _at(whole_first if calls > 1 else IN_ARGUMENTS, wire)
        fault = StreamFault(kind, after_chunks=place, stall_seconds=ENDLESS, match=match)
        return (Reply(tool_calls=(WRITE,) * calls, match=match), fault)

    which = "second tool call" if calls > 1 else "tool call"
    return Fault(f"{kind} in a {which}", Duty.FALL_OVER, make, code, modes=(Mode.STREAM,))


def delayed(kind: type[Delay] | type[SlowFirstToken], seconds: float, name: str, **expected: Any) -> Fault:
    def make(match: Match, _: Provider) -> tuple[Behavior, ...]:
        return (kind(seconds, match=match), Reply(text=TEXT, match=match))

    return Fault(name, make=make, **expected)


def said(name: str, duty: Duty, *behaviours: Callable[[Match], Behavior], **expected: Any) -> Fault:
    """Something the model says, to the end."""

    def make(match: Match, _: Provider) -> tuple[Behavior, ...]:
        return tuple(behaviour(match) for behaviour in behaviours)

    return Fault(name, duty, make, **expected)


def wire_answer(wire: Provider, text: str, *, finish: bool) -> dict[str, Any]:
    """A whole answer with a tool call, as this wire has it."""
    arguments = dict(WRITE.arguments)
    if wire is Provider.OPENAI:
        call = {"id": "c1", "type": "function", "function": {"name": WRITE.name, "arguments": json.dumps(arguments)}}
        choice = {"index": 0, "message": {"role": "assistant", "content": text, "tool_calls": [call]}}
        return {"id": "x", "model": "m", "choices": [choice | ({"finish_reason": "tool_calls"} if finish else {})]}
    if wire is Provider.ANTHROPIC:
        blocks = [
            {"type": "text", "text": text},
            {"type": "tool_use", "id": "c1", "name": WRITE.name, "input": arguments},
        ]
        return {"type": "message", "content": blocks, "stop_reason": "tool_use" if finish else None}
    parts = [{"text": text}, {"functionCall": {"name": WRITE.name, "args": arguments}}]
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}} | ({"finishReason": "STOP"} if finish else {})]
    }


def wire_text(wire: Provider, text: str) -> dict[str, Any]:
    """A whole answer that is only text."""
    if wire is Provider.OPENAI:
        return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    if wire is Provider.ANTHROPIC:
        return {"type": "message", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}
    return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}]}


def _cut_body(wire: Provider) -> bytes:
    whole = http(200, wire_answer(wire, TEXT, finish=True))
    return whole[:-40]


def _half(wire: Provider) -> bytes:
    return json.dumps(wire_answer(wire, TEXT, finish=True)).encode()[:-40]


def canned(name: str, code: str, answer: Callable[[Provider], bytes]) -> Fault:
    return Fault(name, Duty.FALL_OVER, code=code, modes=(Mode.WHOLE,), canned=answer)


def _at(place: Place, wire: Provider) -> int:
    return place if isinstance(place, int) else place[wire]


UNAVAILABLE, TIMEOUT, TRUNCATED, MALFORMED = "llm_unavailable", "llm_timeout", "llm_truncated", "llm_malformed"
REFUSED, KEY = "llm_request_refused", "llm_key_refused"
CALLED = Reply(tool_calls=(WRITE,))

BREAKS: Mapping[StreamFaultKind, str] = {
    "disconnect": UNAVAILABLE,
    "truncate": TRUNCATED,
    "malformed": MALFORMED,
    "stall": TIMEOUT,
}
FAULTS: tuple[Fault, ...] = (
    *(status(code, Duty.FAIL, REFUSED) for code in (400, 404, 405, 413, 422)),
    *(status(code, Duty.FALL_OVER, UNAVAILABLE) for code in (408, 409, 425, 500, 501, 502, 503, 504, 529)),
    status(429, Duty.FALL_OVER, "llm_rate_limited"),
    status(429, Duty.FALL_OVER, "llm_rate_limited", retry_after=30.0),
    status(503, Duty.FALL_OVER, UNAVAILABLE, retry_after=30.0),
    *(status(code, duty, KEY) for duty in (Duty.NEXT_KEY, Duty.NO_KEY) for code in (401, 402, 403)),
    delayed(Delay, 0.5, "short delay", duty=Duty.ANSWER),
    delayed(Delay, 5.5, "delay past the first byte bound", duty=Duty.FALL_OVER, code=TIMEOUT, modes=(Mode.STREAM,)),
    delayed(Delay, 5.5, "delay past the first byte bound", duty=Duty.ANSWER, modes=(Mode.WHOLE,)),
    delayed(Delay, 9.5, "delay past the total bound", duty=Duty.FALL_OVER, code=TIMEOUT),
    delayed(SlowFirstToken, 0.5, "short wait for a token", duty=Duty.ANSWER, modes=(Mode.STREAM,)),
    delayed(
        SlowFirstToken, 5.5, "long wait for a token", duty=Duty.FALL_OVER, code=TIMEOUT, modes=(Mode.STREAM,)
    ),
    *(
        broken_stream(kind, place, code, where=where)
        for kind, code in BREAKS.items()
        for place, where in ((0, "at the start"), (MIDDLE, "in the middle"), (BEFORE_FINISH, "before the finish"))
    ),
    said(
        "stall that ends", Duty.ANSWER, lambda match: Reply(text=TEXT, match=match),
        lambda match: StreamFault("stall", after_chunks=MIDDLE, stall_seconds=0.5, match=match), modes=(Mode.STREAM,),
    ),
    Fault(
        "truncate behind the finish", Duty.ANSWER,
        lambda match, wire: (
            Reply(text=TEXT, match=match), StreamFault("truncate", after_chunks=BEHIND_FINISH[wire], match=match),
        ),
        modes=(Mode.STREAM,), wires=(Provider.OPENAI, Provider.ANTHROPIC),
    ),
    *(broken_call(kind, code) for kind, code in BREAKS.items()),
    broken_call("truncate", TRUNCATED, calls=2),
    said(
        "tool call cut at the token limit", Duty.ANSWER,
        lambda match: Reply(text=TEXT, tool_calls=(WRITE,), finish_reason="length", match=match), answer=None,
    ),
    said(
        "tool call and a content filter", Duty.ANSWER,
        lambda match: Reply(text=TEXT, tool_calls=(WRITE,), finish_reason="content_filter", match=match),
    ),
    said(
        "unknown finish reason", Duty.FALL_OVER,
        lambda match: Reply(text=TEXT, tool_calls=(WRITE,), finish_reason="a_new_one", match=match),
        code=TRUNCATED, shown=True, wires=(Provider.OPENAI, Provider.ANTHROPIC),
    ),
    said(
        "tool call with broken arguments", Duty.ANSWER, lambda match: ToolFault("malformed_arguments", match=match),
        lambda match: Reply(tool_calls=(WRITE,), match=match), lambda match: Reply(text=TEXT, match=match),
        asked=2, refused_calls=("tool_arguments",),
    ),
    said(
        "call of a tool that is not there", Duty.ANSWER, lambda match: ToolFault("unknown_tool", match=match),
        lambda match: Reply(tool_calls=(WRITE,), match=match), lambda match: Reply(text=TEXT, match=match),
        asked=2, refused_calls=("unknown_tool",),
    ),
    canned("body that is cut", UNAVAILABLE, _cut_body),
    canned("body that is not JSON", MALFORMED, lambda wire: http(200, _half(wire))),
    canned("no finish reason", TRUNCATED, lambda wire: http(200, wire_answer(wire, TEXT, finish=False))),
    canned("page of a proxy", MALFORMED, lambda _: http(200, b"<html>Sign in to the network</html>")),
)  # fmt: skip


def cases(*, every: bool) -> Iterator[Case]:
    number = 0
    for fault in FAULTS:
        if fault.rare and not every:
            continue
        for wire in fault.wires:
            for mode in fault.modes:
                number += 1
                yield Case(fault, wire, mode, number)
