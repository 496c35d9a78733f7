"""The pure rules of a run: what the model is shown, where answers come from, when a run ends."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.llm.ports import FinishReason, Role, ToolCall, Usage
from atom.runs.errors import UploadInvalidError
from atom.runs.journal import call_key, read, reply_key
from atom.runs.limits import breach, spent
from atom.runs.models import Step, StepKind, StepStatus
from atom.runs.records import (
    ReplyRecord,
    ToolRecord,
    reply_from_json,
    reply_to_json,
    tool_from_json,
    tool_to_json,
)
from atom.runs.sources import find_sources
from atom.runs.transcript import DROPPED, HISTORY_CHARS, TOOL_CHARS, Brief, Exchange, Recorded, build, fitting
from atom.runs.uploads import safe_name
from atom.settings import RunSettings
from atom.tools.ports import SourceLine

words = st.text(max_size=40)
tokens = st.none() | st.integers(0, 10_000)
calls = st.lists(st.builds(ToolCall, words, words, words), max_size=3).map(tuple)
replies = st.builds(
    ReplyRecord,
    text=words,
    tool_calls=calls,
    finish_reason=st.sampled_from(FinishReason),
    provider=words,
    model=words,
    usage=st.builds(Usage, tokens, tokens, tokens),
    attempt=st.integers(1, 9),
)
lines = st.builds(SourceLine, words, st.integers(1, 999), words)
results = st.builds(ToolRecord, words, st.none() | words, st.lists(lines, max_size=3).map(tuple))


def reply(*tool_calls: ToolCall, text: str = "", usage: Usage | None = None) -> ReplyRecord:
    return ReplyRecord(text, tool_calls, FinishReason.STOP, "p", "m", usage or Usage(), 1)


def cleaned(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


@given(replies)
def test_reply_survives_the_journal(record: ReplyRecord) -> None:
    stored = reply_to_json(record)
    assert reply_to_json(reply_from_json(stored)) == stored
    assert reply_from_json(stored).text == cleaned(record.text)
    assert reply_from_json(stored).usage == record.usage


@given(results)
def test_tool_result_survives_the_journal(record: ToolRecord) -> None:
    stored = tool_to_json(record)
    assert tool_to_json(tool_from_json(stored)) == stored
    assert len(tool_from_json(stored).sources) == len(record.sources)


def test_journal_is_read_back_by_its_keys() -> None:
    def step(key: str, kind: StepKind, result: dict[str, object] | None, **request: object) -> Step:
        status = StepStatus.DONE if result else StepStatus.STARTED
        return Step(key=key, kind=kind.value, request=request, result=result, status=status.value)

    loaded = read(
        [
            step(reply_key(0), StepKind.MODEL, reply_to_json(reply(text="hi"))),
            step(call_key(0, 1), StepKind.TOOL, tool_to_json(ToolRecord("r", None, ()))),
            step(call_key(12, 3), StepKind.TOOL, None, arguments={"n": 1}),
            step(call_key(12, 4), StepKind.TOOL, None, arguments={"n": 2}, edited_from={"n": 1}),
        ]
    )
    assert loaded.recorded.replies[0].text == "hi"
    assert loaded.recorded.results[0, 1].content == "r"
    assert loaded.begun == {(12, 3): StepStatus.STARTED, (12, 4): StepStatus.STARTED}
    assert loaded.edited == {(12, 4): {"n": 2}}


@given(
    st.dictionaries(st.integers(0, 5), replies),
    st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 2)), results),
)
def test_transcript_answers_every_tool_message_to_a_call_before_it(
    turns: dict[int, ReplyRecord], outcomes: dict[tuple[int, int], ToolRecord]
) -> None:
    messages = build(Brief("be useful", [], "task"), Recorded(turns, outcomes))
    asked: list[str] = []
    for message in messages:
        asked += [item.id for item in message.tool_calls]
        if message.role is Role.TOOL:
            assert message.tool_call_id in asked
    assert messages[0].role is Role.SYSTEM
    assert next(m.content for m in messages if m.role is Role.USER) == "task"


def test_old_tool_results_give_way_and_the_newest_stay_whole() -> None:
    big = "x" * (TOOL_CHARS // 2 + 1)
    turns = {n: reply(ToolCall(f"c{n}", "t", "{}")) for n in range(3)}
    outcomes = {(n, 0): ToolRecord(f"{n}{big}", None, ()) for n in range(3)}
    shown = [m.content for m in build(Brief("", [], "t"), Recorded(turns, outcomes)) if m.role is Role.TOOL]
    assert shown == [DROPPED, DROPPED, f"2{big}"]


@given(st.lists(st.builds(Exchange, st.text(max_size=30_000), st.text(max_size=30_000)), max_size=8))
def test_history_is_a_suffix_that_fits(history: list[Exchange]) -> None:
    kept = fitting(history)
    assert kept == history[len(history) - len(kept) :]
    assert sum(len(e.task) + len(e.answer) for e in kept) <= HISTORY_CHARS


def test_source_is_cited_only_when_a_tool_really_showed_the_line() -> None:
    shown = [SourceLine("docs/a.md", 7, "pool_size = 20"), SourceLine("docs/a.md", 8, "}")]
    [cited] = find_sources("See docs/a.md:7 and docs/a.md:99 and other.md:1.", shown)
    assert (cited.path, cited.line, cited.quote, cited.cited) == ("docs/a.md", 7, "pool_size = 20", True)
    [quoted] = find_sources("It says `pool_size = 20` somewhere.", shown)
    assert (quoted.line, quoted.cited) == (7, True)
    [read_only] = find_sources("I do not know.", shown)
    assert (read_only.line, read_only.cited) == (7, False)
    assert find_sources("docs/a.md:7", []) == []


@pytest.mark.parametrize("piece", ["x", "a/", "a.", "a:", "a:1", "-"])
def test_sources_of_a_hostile_answer_cost_no_time(piece: str) -> None:
    began = time.monotonic()
    find_sources(piece * 60_000, [])
    assert time.monotonic() - began < 3


@given(words, st.lists(lines, max_size=30))
def test_sources_are_lines_that_were_shown(answer: str, shown: list[SourceLine]) -> None:
    real = {(line.path, line.line, line.text) for line in shown}
    assert {(s.path, s.line, s.quote) for s in find_sources(answer, shown)} <= real


def test_unknown_token_counts_are_not_zero_costs_but_do_not_end_a_run() -> None:
    used = spent(Recorded({0: reply(usage=Usage(None, None)), 1: reply(usage=Usage(5, None))}, {}))
    assert used.tokens == 5


def test_a_good_call_resets_the_count_of_bad_ones() -> None:
    bad, good = ToolRecord("e", "tool_arguments", ()), ToolRecord("ok", None, ())
    turns = {n: reply(ToolCall("c", "t", "{}")) for n in range(4)}
    recorded = Recorded(turns, {(0, 0): bad, (1, 0): bad, (2, 0): good, (3, 0): bad})
    assert spent(recorded).invalid_in_a_row == 1


@given(st.integers(0, 40), st.integers(0, 2_000_000), st.integers(0, 10))
def test_limits_never_allow_what_they_name(turns: int, used: int, invalid: int) -> None:
    limits = RunSettings(max_turns=20, max_tokens=1_000_000, max_invalid_calls=3)
    found = breach(type(spent(Recorded({}, {})))(turns, used, invalid), limits)
    assert (found is None) == (turns < 20 and used < 1_000_000 and invalid < 3)


@given(st.text(max_size=300))
def test_upload_name_is_one_safe_path_part(name: str) -> None:
    try:
        safe = safe_name(name)
    except UploadInvalidError:
        return
    assert safe not in {"", ".", ".."}
    assert not set(safe) & set('/\\\x00\n:"')
    assert len(safe) <= 120


@pytest.mark.parametrize(
    ("name", "safe"),
    [("../../etc/passwd", "passwd"), ("C:\\Users\\me\\a b.txt", "a b.txt"), ("x" * 300 + ".txt", "x" * 100 + ".txt")],
)
def test_upload_name_keeps_what_is_harmless(name: str, safe: str) -> None:
    assert safe_name(name) == safe
