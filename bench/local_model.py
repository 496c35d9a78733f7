"""The local model on real questions: right tool, right line, refusals, speed and memory.

    python bench/local_model.py [--document FILE] [--json FILE]

Every question goes the whole way: act turn, search_text, read_file, answer. A quote is right when the line that the
answer cites contains one of the gold texts of tests/data/guide_questions.json; `right_shown` counts the runners-up too.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from atom.kit.clock import SystemClock
from atom.kit.ids import new_id
from atom.llm.adapters.local import LocalChatModel
from atom.llm.adapters.local_process import LocalProcess
from atom.llm.adapters.local_weights import language_model
from atom.llm.choice import LOCAL_MODEL
from atom.llm.ports import ChatRequest, Completion, Message, Role, ToolCall, ToolSpec
from atom.retrieval.local_embedder import find_local_embedder
from atom.retrieval.workspace import WorkspaceSearch
from atom.settings import ToolSettings
from atom.tools.calculate import calculate_tool
from atom.tools.clock import current_time_tool
from atom.tools.errors import ToolError
from atom.tools.files import delete_file_tool, list_files_tool, read_file_tool, write_file_tool
from atom.tools.ports import Tool, ToolContext
from atom.tools.search import search_text_tool

ROOT = Path(__file__).resolve().parents[1]
MAX_TURNS = 5
GET = ToolSpec("http_get", "", {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]})


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question: the first tool, the answer, the text of the line it cites, and what it took."""

    tool: str
    answer: str
    line: str
    seconds: float


class Desk:
    """A model, its tools and a folder with one document."""

    def __init__(self, folder: Path, document: Path) -> None:
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        self.document = self.workspace / document.name
        shutil.copy(document, self.document)
        self.search = WorkspaceSearch(find_local_embedder(), folder / "cache")
        self.process = LocalProcess(language_model)
        self.model = LocalChatModel(self.process)
        settings = ToolSettings()
        tools = (search_text_tool(self.search), read_file_tool(settings), list_files_tool(), calculate_tool())
        more = (current_time_tool(SystemClock()), write_file_tool(settings), delete_file_tool())
        self.tools: Mapping[str, Tool] = {tool.name: tool for tool in (*tools, *more)}
        self.context = ToolContext(new_id(), new_id(), self.workspace, "bench")

    async def ask(self, question: str) -> Outcome:
        began = time.perf_counter()
        messages = [Message(Role.USER, question)]
        first = "answer"
        for turn in range(MAX_TURNS):
            reply = await self.reply(messages)
            if not reply.tool_calls:
                return Outcome(first, reply.text, self.cited(reply.text), time.perf_counter() - began)
            [call] = reply.tool_calls
            first = call.name if turn == 0 else first
            messages += [Message(Role.ASSISTANT, "", (call,)), await self.result(call)]
        raise RuntimeError(f"No answer after {MAX_TURNS} turns: {question}")

    async def reply(self, messages: Sequence[Message]) -> Completion:
        specs = [ToolSpec(tool.name, tool.description, tool.parameters) for tool in self.tools.values()]
        request = ChatRequest(LOCAL_MODEL, tuple(messages), (*specs, GET))
        items = [item async for item in self.model.stream(request)]
        assert isinstance(items[-1], Completion)
        return items[-1]

    async def result(self, call: ToolCall) -> Message:
        tool = self.tools.get(call.name)
        if tool is None or not tool.action.effect.repeatable:
            return Message(Role.TOOL, f"Error: {call.name} is not run in a benchmark.", tool_call_id=call.id)
        try:
            content = (await tool.run(json.loads(call.arguments), self.context)).content
        except ToolError as error:
            content = f"Error: {error}"
        return Message(Role.TOOL, content, tool_call_id=call.id)

    def cited(self, answer: str) -> str:
        """The line of the document that the answer names first, as the document has it; empty when it names none."""
        lines = self.document.read_text("utf-8").split("\n")
        prefix = f"{self.document.name}:"
        places = [row for row in answer.split("\n") if row.startswith(prefix) and row.removeprefix(prefix).isdigit()]
        return lines[int(places[0].removeprefix(prefix)) - 1] if places else ""


def goals(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The numbers that have a goal, as `make bench` shows them."""
    wanted = (("tuned", "right_quote", 18), ("reworded", "right_quote", 7), ("held_out", "right_quote", 7))
    rows = [
        {"name": f"{group}: {name}", "value": figures[group][name], "unit": "", "goal": goal, "better": "higher"}
        for group, name, goal in (*wanted, ("tuned", "right_tool", 20))
    ]
    seconds = figures["tuned"]["seconds_median"]
    return [*rows, {"name": "a question", "value": seconds, "unit": "s", "goal": 1.5, "better": "lower"}]


async def answered(desk: Desk, questions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [(question, await desk.ask(question["question"])) for question in questions]
    wrong = [q["question"] for q, outcome in rows if not any(gold in outcome.line for gold in q["gold"])]
    return {
        "asked": len(rows),
        "right_tool": sum(outcome.tool == "search_text" for _, outcome in rows),
        "right_quote": len(rows) - len(wrong),
        "right_shown": sum(any(gold in outcome.answer for gold in q["gold"]) for q, outcome in rows),
        "wrong": wrong,
        "seconds_median": round(statistics.median(outcome.seconds for _, outcome in rows), 2),
        "seconds_max": round(max(outcome.seconds for _, outcome in rows), 2),
        "answers": {question["question"]: outcome.answer for question, outcome in rows},
    }


async def refused(desk: Desk, questions: Sequence[str]) -> dict[str, Any]:
    outcomes = {question: await desk.ask(question) for question in questions}
    return {"asked": len(outcomes), "refused": sum(not outcome.line for outcome in outcomes.values())}


async def chosen(desk: Desk, questions: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    wrong = [q["question"] for q in questions if (await desk.ask(q["question"])).tool != q["tool"]]
    return {"asked": len(questions), "right_tool": len(questions) - len(wrong), "wrong": wrong}


async def measure(document: Path) -> dict[str, Any]:
    questions = json.loads((ROOT / "tests/data/guide_questions.json").read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder), document)
        began = time.perf_counter()
        await desk.model.prime()
        loaded = time.perf_counter()
        report = await desk.search.index(desk.workspace)
        assert desk.process.pid is not None
        figures: dict[str, Any] = {
            "document": str(document),
            "load_and_prime_seconds": round(loaded - began, 2),
            "index": {"lines": report.lines, "lines_per_second": round(report.lines / report.seconds, 1)},
        }
        for name in ("tuned", "reworded", "held_out"):
            figures[name] = await answered(desk, questions[name])
        for name in ("unanswerable", "near_misses"):
            figures[name] = await refused(desk, questions[name])
        for name in ("other_tools", "other_tools_held_out"):
            figures[name] = await chosen(desk, questions[name])
        megabytes = 1024 * 1024
        figures["memory_mb"] = {
            "model_process": psutil.Process(desk.process.pid).memory_info().rss // megabytes,
            "this_process_with_embedder": psutil.Process().memory_info().rss // megabytes,
        }
        await desk.model.aclose()
        await desk.search.aclose()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--document", type=Path, default=ROOT / "docs/operate/troubleshooting.md")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = asyncio.run(measure(options.document))
    figures["rows"] = goals(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False), "utf-8")
    for figure in figures.values():
        if isinstance(figure, dict):
            figure.pop("answers", None)
    json.dump(figures, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
