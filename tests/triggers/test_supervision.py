"""What an operator does with a run that is at work: correct it, and take it over."""

from typing import Any

import httpx2

from atom.governance.models import Maturity
from atom.llm.ports import ChatRequest, Role
from atom.llm.testing import ScriptedModel, call
from atom.web.server import ServerRole
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.databases import rows
from tests.support.gated import Gate, GatedModel, Part
from tests.support.polling import eventually


class Listening(GatedModel):
    """Keeps what it was asked."""

    def __init__(self, *replies: list[Part]) -> None:
        super().__init__(*replies)
        self.requests: list[ChatRequest] = []

    def stream(self, request: ChatRequest) -> Any:
        self.requests.append(request)
        return super().stream(request)

    def notes(self, number: int) -> list[str]:
        said = [one.content for one in self.requests[number].messages if one.role is Role.USER]
        return [text.split("\n", 1)[1] for text in said if "corrects" in text]


async def correct(atom: RunningAtom, run_id: str, note: str) -> httpx2.Response:
    return await atom.http.post(f"/api/runs/{run_id}/correct", json={"note": note})


async def test_a_correction_reaches_the_model_at_its_next_turn_and_stays(database: Any, home: Any) -> None:
    gate = Gate()
    model = Listening([gate, call("current_time")], [call("current_time")], ["Done."])
    async with running_atom(settings_for_tests(home), database, model) as atom:
        await atom.agent("senior", tools=["current_time"], maturity=Maturity.SUPERVISED.value)
        run = await atom.start("senior", "Work.")
        await gate.reached.wait()
        assert (await correct(atom, run["id"], "Use UTC.")).status_code == 202
        assert (await correct(atom, run["id"], "Be brief.")).status_code == 202
        gate.open.set()
        assert (await atom.settled(run["id"]))["status"] == "completed"
        both = ["Use UTC.", "Be brief."]
        assert [model.notes(number) for number in range(3)] == [[], both, both]
        events = (await atom.http.get(f"/api/runs/{run['id']}/events")).text
        assert events.count('"run.corrected"') == 2
        kinds = await rows(atom.atom.parts.base.sessions, "SELECT kind, data ->> 'step' FROM evidence")
        assert ("intervention", "correct") in kinds
        ended = await correct(atom, run["id"], "Too late.")
        assert (ended.status_code, ended.json()["code"]) == (409, "run_ended")


async def test_a_run_does_not_end_past_a_correction(database: Any, home: Any) -> None:
    """Given while the model writes what it takes for its answer: that answer is not the run's."""
    gate = Gate()
    model = Listening(["First ", gate, "answer."], ["Second answer."])
    async with running_atom(settings_for_tests(home), database, model) as atom:
        await atom.agent("senior", maturity=Maturity.SUPERVISED.value)
        run = await atom.start("senior", "Work.")
        await gate.reached.wait()
        await correct(atom, run["id"], "No: the other one.")
        gate.open.set()
        assert (await atom.settled(run["id"]))["answer"] == "Second answer."
        said = [(one.role.value, one.content) for one in model.requests[1].messages][-2:]
        assert said[0] == ("assistant", "First answer.")
        assert said[1][1].endswith("No: the other one.")


async def test_a_replay_reads_a_correction_where_it_was_read_first(database: Any, home: Any) -> None:
    first, second = Gate(), Gate()
    model = Listening([first, call("current_time")], [second, "lost"], [call("current_time")], ["Done."])
    async with running_atom(settings_for_tests(home), database, model) as atom:
        await atom.agent("senior", tools=["current_time"], maturity=Maturity.SUPERVISED.value)
        run = await atom.start("senior", "Work.")
        await first.reached.wait()
        await correct(atom, run["id"], "Use UTC.")
        first.open.set()
        await second.reached.wait()
        await atom.http.post(f"/api/runs/{run['id']}/pause")
        second.open.set()
        await atom.settled(run["id"], "paused", "completed")
        await atom.http.post(f"/api/runs/{run['id']}/resume")
        await atom.settled(run["id"], "completed")
        order = [one.content for one in model.requests[1].messages]
        assert order == [one.content for one in model.requests[-1].messages][: len(order)]


async def test_who_takes_over_what_never_began_has_not_stepped_in(database: Any, home: Any) -> None:
    async with running_atom(
        settings_for_tests(home), database, ScriptedModel(), roles=frozenset({ServerRole.WEB})
    ) as atom:
        await atom.agent("senior")
        for paused in (False, True):
            run = await atom.start("senior", "Work.")
            if paused:
                await atom.http.post(f"/api/runs/{run['id']}/pause")
            done = await atom.http.post(f"/api/runs/{run['id']}/take-over", json={"answer": "42, by hand"})
            assert done.json()["status"] == "completed"
        assert await rows(atom.atom.parts.base.sessions, "SELECT kind FROM evidence") == []


async def test_a_person_takes_a_paused_run_over(database: Any, home: Any) -> None:
    gate = Gate()
    model = Listening([gate, call("current_time")], ["never"])
    async with running_atom(settings_for_tests(home), database, model) as atom:
        await atom.agent("senior", tools=["current_time"], maturity=Maturity.SUPERVISED.value)
        run = await atom.start("senior", "Work.")
        await gate.reached.wait()
        url = f"/api/runs/{run['id']}/take-over"
        busy = await atom.http.post(url, json={"answer": "42, by hand"})
        assert (busy.status_code, busy.json()["code"]) == (409, "run_at_work")
        await atom.http.post(f"/api/runs/{run['id']}/pause")
        gate.open.set()
        await atom.settled(run["id"], "paused")
        done = (await atom.http.post(url, json={"answer": "42, by hand"})).json()
        assert (done["status"], done["answer"]) == ("completed", "42, by hand")
        kinds = await rows(atom.atom.parts.base.sessions, "SELECT kind, data ->> 'step' FROM evidence")
        assert ("intervention", "take_over") in kinds
        assert (await atom.http.post(url, json={"answer": "again"})).status_code == 409
        agent = (await atom.http.post("/api/tokens", json={"name": "bot", "role": "agent"})).json()["token"]
        refused = await atom.http.post(url, json={"answer": "x"}, headers={"Authorization": f"Bearer {agent}"})
        assert refused.status_code == 403
        await eventually(lambda: model.asked == 1)
