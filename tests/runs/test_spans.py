"""A run as an operator sees it in a tracing tool: one trace, with its id, whatever happens on the way."""

from pathlib import Path
from typing import Any
from uuid import UUID

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from sqlalchemy import URL

from atom.governance.models import Maturity
from atom.llm.testing import ScriptedModel, call
from atom.settings import TracingSettings
from atom.web.testing import running_atom, settings_for_tests
from tests.support.collector import Collector, collector, plain

__all__ = ["collector"]
READING = call("read_file", path="secret-name.txt")


def tree(spans: list[Span]) -> dict[str, str]:
    """Each span's name with its parent's."""
    names = {span.span_id: span.name for span in spans}
    return {span.name: names.get(span.parent_span_id, "") for span in spans}


async def test_a_run_is_one_trace_of_its_model_calls_and_tools(database: URL, home: Path, collector: Collector) -> None:
    model = ScriptedModel(call("calculate", expression="6*7"), READING, "It is 42, says nobody.")
    tracing = TracingSettings(enabled=True, endpoint=collector.url)
    async with running_atom(settings_for_tests(home, tracing=tracing), database, model) as atom:
        await atom.agent("clerk", tools=["calculate", "read_file"])
        run = await atom.done("clerk", "A secret task.")
        assert run["status"] == "completed"
    assert {span.trace_id for span in collector.spans} == {UUID(run["id"]).bytes}
    assert tree(collector.spans) == {
        "invoke_agent clerk": "",
        "chat scripted": "invoke_agent clerk",
        "execute_tool calculate": "invoke_agent clerk",
        "execute_tool read_file": "invoke_agent clerk",
    }
    assert [len(collector.named(name)) for name in ("chat scripted", "execute_tool calculate")] == [3, 1]
    [stint], [failed] = collector.named("invoke_agent clerk"), collector.named("execute_tool read_file")
    assert plain(stint.attributes)["gen_ai.agent.name"] == "clerk"
    facts = plain(failed.attributes)
    assert (facts["error.type"], facts["gen_ai.tool.call.id"], facts["atom.run_id"]) == (
        "tool_error", READING.id, run["id"],
    )  # fmt: skip
    assert facts["atom.step"]
    assert {plain(span.attributes)["atom.run_id"] for span in collector.spans} == {run["id"]}
    for word in (b"secret", b"6*7", b"42, says"):
        assert word not in collector.raw


async def test_a_run_that_waits_for_a_person_is_two_stints_and_no_failure(
    database: URL, home: Path, collector: Collector
) -> None:
    model = ScriptedModel(call("write_file", path="a.txt", content="secret-x"), "Written.")
    tracing = TracingSettings(enabled=True, endpoint=collector.url, content=True)
    async with running_atom(settings_for_tests(home, tracing=tracing), database, model) as atom:
        await atom.agent("clerk", tools=["write_file"], maturity=Maturity.INTERN)
        run = await atom.done("clerk", "Write.")
        assert run["status"] == "waiting"
        items: list[dict[str, Any]] = (await atom.http.get("/api/approvals")).json()["items"]
        answer = await atom.http.post(f"/api/approvals/{items[0]['id']}/approve", json={})
        assert answer.status_code == 200, answer.text
        await atom.settled(run["id"], "completed")
    stints = collector.named("invoke_agent clerk")
    assert [(span.status.code, span.trace_id) for span in stints] == [(0, UUID(run["id"]).bytes)] * 2
    [tool] = collector.named("execute_tool write_file")
    assert "secret-x" in plain(tool.attributes)["gen_ai.tool.call.arguments"]
    assert plain(tool.attributes)["gen_ai.tool.call.result"]


async def test_a_collector_that_is_away_changes_nothing_of_a_run(
    database: URL, home: Path, collector: Collector
) -> None:
    collector.hangs.set()
    tracing = TracingSettings(enabled=True, endpoint=collector.url)
    async with running_atom(settings_for_tests(home, tracing=tracing), database, ScriptedModel("Done.")) as atom:
        await atom.agent("clerk", tools=[])
        assert (await atom.done("clerk", "Do it."))["answer"] == "Done."
        collector.goes_on.set()
