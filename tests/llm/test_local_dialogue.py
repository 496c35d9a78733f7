"""What the local model makes of a conversation, without the model."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.llm.adapters.local_actions import feasible
from atom.llm.adapters.local_answer import continued, others, quoted, said, searched
from atom.llm.adapters.local_dialogue import Done, Line, Situation, found_lines, reading, situation
from atom.llm.choice import LOCAL_MODEL
from atom.llm.ports import ChatRequest, Message, Role, ToolCall, ToolSpec

FOUND = (
    "2 of the best lines (9 lines of 1 files searched):\ndocs/a.md:12: pool_size = 20\n    [Guide > Pool]\n"
    "b.md:3: x: 1:2:"
)


def spec(name: str, *properties: str, required: tuple[str, ...] = ()) -> ToolSpec:
    schema = {"type": "object", "properties": {name: {} for name in properties}, "required": list(required)}
    return ToolSpec(name, "", schema)


TOOLS = (
    spec("search_text", "query", "path", "limit", required=("query",)),
    spec("read_file", "path", "first_line", "last_line", required=("path",)),
    spec("list_files", "pattern"),
    spec("current_time", "timezone"),
    spec("calculate", "expression", required=("expression",)),
    spec("write_file", "path", "content", required=("path", "content")),
    spec("delete_file", "path", required=("path",)),
    spec("http_get", "url", required=("url",)),
)


def asked(*messages: Message, tools: tuple[ToolSpec, ...] = TOOLS) -> Situation:
    return situation(ChatRequest(LOCAL_MODEL, messages, tools))


def user(text: str) -> Message:
    return Message(Role.USER, text)


def call(name: str, arguments: str, result: str) -> tuple[Message, Message]:
    made = ToolCall(f"id-{name}", name, arguments)
    return Message(Role.ASSISTANT, "", (made,)), Message(Role.TOOL, result, tool_call_id=made.id)


def options(question: str, tools: tuple[ToolSpec, ...] = TOOLS) -> dict[str, tuple[str, ...]]:
    return {action.name: action.options for action in feasible(asked(user(question), tools=tools))}


def test_only_the_last_request_and_what_followed_it_counts() -> None:
    now = asked(
        Message(Role.SYSTEM, "Rules"),
        user("Earlier?"),
        *call("list_files", "{}", "old"),
        Message(Role.ASSISTANT, "Answer"),
        user("What now?"),
        *call("search_text", '{"query": "now"}', FOUND),
    )
    assert now.question == "What now?"
    assert now.done == (Done("search_text", {"query": "now"}, FOUND),)


def test_files_given_with_the_task_are_not_part_of_the_question() -> None:
    now = asked(user("What is it?\n\nFiles given with this task:\n- docs/a.md"))
    assert (now.question, now.files) == ("What is it?", ("docs/a.md",))
    search = next(action for action in feasible(now) if action.name == "search_text")
    assert search.fixed == (("path", "docs/a.md"),)


@pytest.mark.parametrize("arguments", ["", "{", "[1]", "null", "\ud800"])
def test_garbage_arguments_of_another_model_are_no_arguments(arguments: str) -> None:
    assert asked(user("a"), *call("search_text", arguments, "x")).done[0].arguments == {}


def test_no_message_at_all_is_an_empty_question() -> None:
    assert asked().question == ""
    assert [action.name for action in feasible(asked())] == ["answer", "list_files", "current_time"]


def test_lines_are_taken_from_between_headings_and_notes() -> None:
    assert found_lines(FOUND) == [Line("docs/a.md", 12, "pool_size = 20"), Line("b.md", 3, "x: 1:2:")]
    assert found_lines("No line matches. (3 lines of 1 files searched.)") == []
    assert found_lines("[lines 1-2 of 3; continue with first_line=3]") == []


@given(st.text(max_size=500))
def test_no_result_of_a_tool_breaks_it(content: str) -> None:
    assert all(line.number >= 0 and line.text in content for line in found_lines(content))


@pytest.mark.parametrize(
    ("question", "tool", "arguments"),
    [
        ("What is 17 * (2 + 3)?", "calculate", ("17 * (2 + 3)",)),
        ("2 ** 10", "calculate", ("2 ** 10",)),
        ("Read docs/a.md, please.", "read_file", ("docs/a.md",)),
        ("Fetch https://example.com/x.", "http_get", ("https://example.com/x",)),
        ('Write "a.b c" to out/x.txt', "write_file", ("out/x.txt",)),
    ],
)
def test_arguments_are_copied_out_of_the_request(question: str, tool: str, arguments: tuple[str, ...]) -> None:
    assert options(question)[tool][-len(arguments) :] == arguments


def test_what_cannot_be_filled_is_not_offered() -> None:
    assert set(options("What is the pool size?")) == {"answer", "search_text", "list_files", "current_time"}
    assert "write_file" not in options("Write something to a.txt")
    assert "read_file" not in options("Read ../secret.txt")


def test_a_tool_that_is_not_offered_or_is_another_one_of_that_name_is_not_used() -> None:
    assert set(options("Read a.md", tools=())) == {"answer"}
    other = (spec("search_text", "needle", required=("needle",)), spec("list_files", "folder", required=("folder",)))
    assert set(options("What is it?", tools=other)) == {"answer"}


def test_the_lines_around_the_best_one_are_read() -> None:
    assert reading(Line("a.md", 2, ""), asked(user("a"))) == {"path": "a.md", "first_line": 1, "last_line": 5}
    plain = (spec("read_file", "path", required=("path",)),)
    assert reading(Line("a.md", 2, ""), asked(user("a"), tools=plain)) == {"path": "a.md"}


def test_the_quote_is_the_line_as_the_file_has_it() -> None:
    now = asked(user("a"), *call("search_text", "{}", FOUND), *call("read_file", "{}", "docs/a.md:12: pool_size = 30"))
    best, hits = searched(now, now.done[0]) or (None, [])
    assert best == Line("docs/a.md", 12, "pool_size = 30")
    assert len(hits) == 2


@pytest.mark.parametrize("result", ["Error: no such file", "nothing of that form", "other.md:1: text"])
def test_a_file_that_could_not_be_read_leaves_the_line_of_the_search(result: str) -> None:
    now = asked(user("a"), *call("search_text", "{}", FOUND), *call("read_file", "{}", result))
    assert (searched(now, now.done[0]) or (None,))[0] == Line("docs/a.md", 12, "pool_size = 20")


def test_a_continued_command_is_quoted_whole_with_the_place_of_its_first_line() -> None:
    shown = [Line("a.md", 1, "curl \\"), Line("a.md", 2, "  -d 1"), Line("a.md", 3, "next")]
    quote = continued(shown[0], shown)
    assert quoted(quote) == "> curl \\\n>   -d 1\n\na.md:1"
    assert others(shown, quote) == "\n\nOther lines that may answer it:\n- a.md:3: next"
    assert others(shown[:2], quote) == ""


def test_results_are_passed_on_verbatim_and_failures_named() -> None:
    assert said(Done("calculate", {}, "1 + 1 = 2")) == "calculate says:\n\n1 + 1 = 2"
    assert said(Done("delete_file", {}, "Error: refused")) == "delete_file did not work. It said: Error: refused"
    assert len(said(Done("read_file", {}, "x" * 100_000))) < 5_000


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3))
def test_arguments_are_read_as_json(arguments: Mapping[str, Any]) -> None:
    assert asked(user("a"), *call("x", json.dumps(arguments), "y")).done[0].arguments == arguments
