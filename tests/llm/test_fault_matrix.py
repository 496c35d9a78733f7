"""Every fault of the fake provider on every wire, streaming and not, through a whole Atom with another provider behind.

What happened is in build/reports/llm-faults.md as well. `LLM_FAULTS=all` takes the statuses too that are treated like
another one, as `make campaign` does.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from llmock.testing import LLMockServer

from atom.settings import DatabaseSettings, LlmSettings, Provider, RunSettings
from atom.web.testing import running_atom, settings_for_tests
from tests.support.fault_catalogue import FIRST_BYTE, IDLE, TEXT, TOTAL, WIRES, Duty, Mode, cases
from tests.support.fault_report import WRITTEN, write_report
from tests.support.fault_runs import AT_ONCE, BACKUP_TEXT, Bench, Observed, prepare, watch_all

ALL = list(cases(every=os.environ.get("LLM_FAULTS") == "all"))
pytestmark = pytest.mark.timeout(300)  # all runs are made in the setup of the first test
BACKUP_NAME = "compatible/backup"
each_wire = pytest.mark.parametrize(("wire", "mode"), [(wire, mode) for wire in WIRES for mode in Mode], ids=str)


@pytest_asyncio.fixture(scope="module")
async def bench(cluster: Any, open_folder: Path) -> AsyncIterator[Bench]:
    home = open_folder / uuid4().hex[:8]
    home.mkdir(mode=0o711)
    name = f"faults_{uuid4().hex[:12]}"
    settings = settings_for_tests(
        home,
        database=DatabaseSettings(pool_size=16, max_overflow=4, pool_timeout=5),
        runs=RunSettings(lease_seconds=8, sweep_seconds=0.5, max_concurrent=AT_ONCE),
        llm=LlmSettings(first_byte_timeout=FIRST_BYTE, idle_timeout=IDLE, timeout=TOTAL),
    )
    with LLMockServer() as fake:
        async with running_atom(settings, cluster.create(name, "atom_template")) as atom:
            yield await prepare(atom, fake)
    cluster.drop(name)


@pytest_asyncio.fixture(scope="module")
async def outcomes(bench: Bench, request: pytest.FixtureRequest) -> dict[str, Observed]:
    found = await watch_all(bench, ALL)
    request.config.stash[WRITTEN] = write_report(found.values())
    return found


@pytest.fixture
def observed(wire: Provider, mode: Mode, outcomes: dict[str, Observed]) -> list[Observed]:
    found = [seen for seen in outcomes.values() if (seen.case.wire, seen.case.mode) == (wire, mode)]
    assert len(found) > 20
    return found


@each_wire
async def test_no_attempt_is_unaccounted(observed: list[Observed]) -> None:
    """What the provider counted is what the ledger has, provider by provider."""
    for seen in observed:
        case = seen.case
        backup = 1 if case.fault.duty is Duty.FALL_OVER else 0
        assert seen.asked == (case.fault.asked, backup), case.id
        assert seen.rows == seen.asked, case.id
        assert len({(call["step"], call["attempt"]) for call in seen.calls}) == len(seen.calls), case.id


@each_wire
async def test_run_ends_as_its_fault_demands(observed: list[Observed]) -> None:
    for seen in observed:
        case = seen.case
        match case.fault.duty:
            case Duty.FALL_OVER:
                assert (seen.run["status"], seen.run["answer"], seen.run["provider"]) == (
                    "completed", BACKUP_TEXT, Provider.COMPATIBLE,
                )  # fmt: skip
            case Duty.FAIL | Duty.NO_KEY:
                assert (seen.run["status"], seen.run["error"]["code"]) == ("failed", case.fault.code), case.id
            case Duty.ANSWER | Duty.NEXT_KEY:
                assert (seen.run["status"], seen.run["provider"]) == ("completed", case.wire), case.id
                assert seen.run["answer"].startswith(TEXT), case.id
                assert case.fault.answer is None or seen.run["answer"] == case.fault.answer, case.id


@each_wire
async def test_run_shows_who_failed_and_who_answers_instead(observed: list[Observed]) -> None:
    for seen in observed:
        case = seen.case
        first = f"{case.wire}/{case.model}"
        changes = [
            (data["from"].split(" ")[0], data["to"].split(" ")[0], data["error_code"]) for data in _changes(seen)
        ]
        instead = [data["instead_of"] for data in seen.of("model.replied")]
        match case.fault.duty:
            case Duty.FALL_OVER:
                assert changes == [(first, BACKUP_NAME, case.fault.code)], case.id
                assert [str(name).split(" ")[0] for name in instead] == [first], case.id
            case Duty.NEXT_KEY:
                assert changes == [(first, first, case.fault.code)], case.id
                assert _changes(seen)[0]["from"] != _changes(seen)[0]["to"], case.id
                assert [str(name).split(" ")[0] for name in instead] == [first], case.id
            case Duty.ANSWER:
                assert changes == [], case.id
                assert set(instead) == {None}, case.id
            case Duty.FAIL | Duty.NO_KEY:
                assert (changes, instead) == ([], []), case.id


@each_wire
async def test_text_that_was_shown_is_replaced_and_never_spliced(observed: list[Observed]) -> None:
    for seen in observed:
        case = seen.case
        restarts = seen.of("model.restarted")
        shown = case.fault.shown and case.mode is Mode.STREAM
        assert len(restarts) == (1 if shown else 0), case.id
        assert all(TEXT.startswith(void) for void in seen.screen.void), case.id
        assert seen.screen.void == [] or shown, case.id
        if case.fault.duty is Duty.FALL_OVER:
            assert seen.screen.text == BACKUP_TEXT, case.id
        elif seen.run["status"] == "completed":
            assert seen.screen.text == TEXT, case.id


async def test_viewer_had_the_half_text_on_the_screen_and_lost_it(outcomes: dict[str, Observed]) -> None:
    """Where the stream stands still for seconds, no viewer is too late for what was said before."""
    stalled = [seen for id_, seen in outcomes.items() if "stall_in_the_middle" in id_]
    assert len(stalled) == 3
    for seen in stalled:
        (void,) = seen.screen.void
        assert void
        assert void != TEXT
        kinds = [kind for kind, _ in seen.events]
        assert kinds.index("model.failed_over") < kinds.index("model.restarted") < kinds.index("model.replied")


@each_wire
async def test_no_half_or_broken_call_is_ever_made(observed: list[Observed]) -> None:
    for seen in observed:
        case = seen.case
        tools = [step for step in seen.steps if step["kind"] == "tool"]
        assert tuple(step["result"]["code"] for step in tools) == case.fault.refused_calls, case.id
        assert not seen.written, case.id


@each_wire
async def test_key_is_marked_by_401_402_and_403_only(observed: list[Observed]) -> None:
    for seen in observed:
        case = seen.case
        first = "refused" if case.fault.duty in {Duty.NEXT_KEY, Duty.NO_KEY} else "active"
        statuses = {"first": first, "second": "active"}
        assert seen.keys == {f"{case.model}-{name}": statuses[name] for name in case.own_keys}, case.id


@each_wire
async def test_key_says_how_answers_come(mode: Mode, observed: list[Observed]) -> None:
    for seen in observed:
        assert seen.streamed == (set() if seen.case.fault.canned else {mode is Mode.STREAM}), seen.case.id


async def test_streaming_of_a_key_is_on_or_off(bench: Bench) -> None:
    body = {"provider": "openai", "name": "odd", "secret": "s3cret", "options": {"streaming": "sometimes"}}
    answer = await bench.atom.http.post("/api/keys", json=body)
    assert (answer.status_code, "on or off" in answer.text) == (422, True)


@each_wire
async def test_ledger_names_the_failure(observed: list[Observed]) -> None:
    for seen in observed:
        case = seen.case
        (first, *rest) = seen.calls
        assert first["outcome"] == (case.fault.code or "ok"), case.id
        assert {call["outcome"] for call in rest} <= {"ok"}, case.id
        assert all(
            call["output_tokens"] for call in seen.calls if call["outcome"] == "ok" and "behind" not in case.id
        ), case.id


def _changes(seen: Observed) -> list[dict[str, Any]]:
    return seen.of("model.failed_over")
