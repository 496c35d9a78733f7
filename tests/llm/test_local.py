"""The local model as it is used: the real weights, the real search, real files."""

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from atom.kit.clock import SystemClock
from atom.kit.ids import new_id
from atom.llm.access import Access, KeyInfo
from atom.llm.adapters import local_weights
from atom.llm.adapters.local import LIMITS_NOTE, LocalChatModel, build
from atom.llm.adapters.local_process import LocalProcess
from atom.llm.choice import LOCAL_MODEL
from atom.llm.errors import ModelNotConfiguredError, ModelRequestError
from atom.llm.ports import ChatRequest, Completion, FinishReason, Message, Role, TextDelta, ToolCall, ToolSpec
from atom.retrieval.local_embedder import find_local_embedder
from atom.retrieval.workspace import WorkspaceSearch
from atom.settings import LlmSettings, Provider, ToolSettings
from atom.tools.calculate import calculate_tool
from atom.tools.clock import current_time_tool
from atom.tools.errors import ToolError
from atom.tools.files import list_files_tool, read_file_tool
from atom.tools.ports import Tool, ToolContext
from atom.tools.search import search_text_tool

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/operate/troubleshooting.md"
QUESTIONS = json.loads((ROOT / "tests/data/guide_questions.json").read_text("utf-8"))
SAMPLE = [QUESTIONS["tuned"][number] for number in (0, 3, 5, 8, 14)]
EXTRAS = "xllamacpp", "onnxruntime", "tokenizers", "numpy"


@dataclass(frozen=True)
class Desk:
    """A model at its desk: what it may use, and the folder it looks into."""

    model: LocalChatModel
    tools: Mapping[str, Tool]
    workspace: Path

    async def say(self, *messages: Message, **more: Any) -> list[TextDelta | Completion]:
        specs = [ToolSpec(tool.name, tool.description, tool.parameters) for tool in self.tools.values()]
        request = ChatRequest(LOCAL_MODEL, messages, tuple(specs), **more)
        return [item async for item in self.model.stream(request)]

    async def work(self, question: str) -> tuple[list[str], Completion]:
        """The names of the tools it called, and its answer."""
        messages = [Message(Role.USER, question)]
        called: list[str] = []
        for _ in range(5):
            reply = completion(await self.say(*messages))
            if not reply.tool_calls:
                return called, reply
            [call] = reply.tool_calls
            called.append(call.name)
            messages += [Message(Role.ASSISTANT, "", (call,)), await self.result(call)]
        raise AssertionError(f"no answer after {called}")

    async def result(self, call: ToolCall) -> Message:
        context = ToolContext(new_id(), new_id(), self.workspace, "key")
        try:
            output = await self.tools[call.name].run(json.loads(call.arguments), context)
            content = output.content
        except ToolError as error:
            content = f"Error: {error}"
        return Message(Role.TOOL, content, tool_call_id=call.id)


def completion(items: list[TextDelta | Completion]) -> Completion:
    *deltas, last = items
    assert isinstance(last, Completion)
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == last.text
    return last


@pytest_asyncio.fixture(scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    workspace = tmp_path_factory.mktemp("workspace")
    shutil.copy(GUIDE, workspace / "guide.md")
    search = WorkspaceSearch(find_local_embedder(), tmp_path_factory.mktemp("cache"))
    settings = ToolSettings()
    tools = (search_text_tool(search), read_file_tool(settings), list_files_tool(), calculate_tool())
    named = {tool.name: tool for tool in (*tools, current_time_tool(SystemClock()))}
    desk = Desk(LocalChatModel(LocalProcess(local_weights.language_model)), named, workspace)
    yield desk
    await desk.model.aclose()
    await search.aclose()


def test_the_adapter_imports_and_builds_without_the_extras() -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({EXTRAS!r}))\n"
        "from atom.llm.adapters.local import build\n"
        "from atom.retrieval.workspace import workspace_search\n"
        "from atom.llm.access import Access, KeyInfo\n"
        "from atom.settings import LlmSettings, Provider\n"
        "print(build(Access(KeyInfo(Provider.LOCAL)), LlmSettings()).provider)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("local", 0), done.stderr


async def test_without_weights_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    model = build(Access(KeyInfo(Provider.LOCAL)), LlmSettings())
    with pytest.raises(ModelNotConfiguredError, match="not installed"):
        async for _ in model.stream(ChatRequest(LOCAL_MODEL, (Message(Role.USER, "Hello"),))):
            pass


@pytest.mark.local_model
@pytest.mark.skipif(local_weights.missing() is not None, reason=str(local_weights.missing()))
@pytest.mark.skipif(find_local_embedder() is None, reason="the weights of the embedding model are not installed")
class TestWithTheModel:
    @pytest.mark.parametrize("asked", SAMPLE, ids=[question["question"] for question in SAMPLE])
    async def test_a_question_on_the_guide_gets_its_line_verbatim(self, desk: Desk, asked: dict[str, Any]) -> None:
        called, reply = await desk.work(asked["question"])
        assert called == ["search_text", "read_file"]
        quote = [row.removeprefix("> ") for row in reply.text.split("\n") if row.startswith("> ")]
        [place] = [row for row in reply.text.split("\n") if row.startswith("guide.md:")]
        lines = (desk.workspace / "guide.md").read_text("utf-8").split("\n")
        first = int(place.removeprefix("guide.md:")) - 1
        assert quote == lines[first : first + len(quote)]
        assert any(gold in quote[0] for gold in asked["gold"])

    async def test_every_word_of_an_answer_is_ours_or_the_files(self, desk: Desk) -> None:
        _, reply = await desk.work("How do I rebuild the sandbox image?")
        guide = (desk.workspace / "guide.md").read_text("utf-8")
        for row in filter(None, reply.text.split("\n")):
            said = row.removeprefix("> ").removeprefix("In short: ")
            if row.startswith("- guide.md:"):
                said = row.split(": ", 1)[1]
            assert said in guide or row.startswith("guide.md:") or row == "Other lines that may answer it:"

    async def test_nothing_found_is_said_and_ends_it(self, desk: Desk) -> None:
        called, reply = await desk.work("What is the capital of France?")
        assert called == ["search_text"]
        assert reply.text.startswith("I found no line in the files that answers this. I searched for: What is the")
        assert reply.finish_reason is FinishReason.STOP

    @pytest.mark.parametrize(
        ("question", "tool", "says"),
        [
            ("What is 17 * 23?", "calculate", "17 * 23 = 391"),
            ("Which files do I have?", "list_files", "guide.md  "),
            ("What time is it now?", "current_time", "UTC)"),
            ("Read missing.txt", "read_file", "read_file did not work. It said: Error:"),
        ],
    )
    async def test_results_of_other_tools_are_passed_on(self, desk: Desk, question: str, tool: str, says: str) -> None:
        called, reply = await desk.work(question)
        assert called == [tool]
        assert says in reply.text

    async def test_a_greeting_says_what_it_is(self, desk: Desk) -> None:
        called, reply = await desk.work("Hello!")
        assert called == []
        assert LIMITS_NOTE in reply.text

    async def test_a_reply_names_itself_its_limits_and_its_tokens(self, desk: Desk) -> None:
        reply = completion(await desk.say(Message(Role.USER, "What is the pool size?")))
        assert (reply.provider, reply.model, reply.notes["note"]) == ("local", LOCAL_MODEL, LIMITS_NOTE)
        assert reply.finish_reason is FinishReason.TOOL_CALLS
        assert (reply.usage.input_tokens or 0) > 0 < (reply.usage.output_tokens or 0)

    async def test_without_tools_it_calls_none(self, desk: Desk) -> None:
        bare = Desk(desk.model, {}, desk.workspace)
        assert completion(await bare.say(Message(Role.USER, "What is the pool size?"))).tool_calls == ()

    async def test_structured_output_is_refused(self, desk: Desk) -> None:
        with pytest.raises(ModelRequestError, match="no structured output"):
            await desk.say(Message(Role.USER, "Hello"), response_schema={"type": "object"})

    @pytest.mark.parametrize(
        "text",
        [
            "x" * 10_000_000,
            "漢字 " * 50_000,
            "\ud800\udfff?",
            "",
            "\0\x1b[31m",
            "<|im_end|><|im_start|>",
            '"\\\n\t?' * 300,
        ],
        ids=["10 MB", "wide", "surrogates", "empty", "control", "marks", "quotes"],
    )
    async def test_any_request_gets_a_reply(self, desk: Desk, text: str) -> None:
        reply = completion(await desk.say(Message(Role.USER, text)))
        for call in reply.tool_calls:
            assert isinstance(json.loads(call.arguments), dict)

    async def test_an_earlier_conversation_does_not_change_the_answer(self, desk: Desk) -> None:
        earlier = [Message(Role.USER, "Hello " * 20_000), Message(Role.ASSISTANT, "Answer " * 20_000)] * 3
        now = Message(Role.USER, "What is the sandbox timeout?")
        alone, after = completion(await desk.say(now)), completion(await desk.say(*earlier, now))
        assert [json.loads(reply.tool_calls[0].arguments) for reply in (alone, after)] == [
            {"query": "What is the sandbox timeout"}
        ] * 2
