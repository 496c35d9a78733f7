"""Every method of the client against a whole Atom: what is sent is taken, and what comes back is understood."""

import io
from pathlib import Path

import pytest
from sqlalchemy import URL

from atom.client import AtomClient
from atom.client.feed import feed
from atom.client.models import Delta, Event
from atom.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, UnauthenticatedError
from atom.llm.testing import call
from atom.web.testing import running_atom, settings_for_tests
from tests.support.gated import Gate, GatedModel
from tests.support.planted import with_keys


async def test_every_method_of_the_client(database: URL, home: Path) -> None:
    gate = Gate()
    model = GatedModel([call("current_time")], ["It is ", gate, "late."], ["Later still."])
    async with (
        running_atom(with_keys(settings_for_tests(home)), database, model) as atom,
        AtomClient(atom.url, atom.token) as client,
    ):
        made = await client.agents.create("worker", instructions="Be brief.", tools=["current_time"], maturity="intern")
        assert (await client.agents.update("worker", tools=["current_time", "read_file"])).version == 2
        assert (await client.agents.get(made.id)).tools == ("current_time", "read_file")
        assert [agent.name async for agent in client.agents.list(status="active").every(10)] == ["worker"]
        changed = (await client.agents.versions("worker").page(1)).items[0]
        assert (changed.version, changed.definition.tools, changed.changed_by) == (
            2,
            ("current_time", "read_file"),
            "admin:admin",
        )
        upload = await client.agents.upload("worker", "a.txt", io.BytesIO(b"data"))
        run = await client.runs.start("worker", "What time is it?", files=[upload.path], key="k")
        assert (await client.runs.start("worker", "What time is it?", files=[upload.path], key="k")).id == run.id
        items = []
        async for item in client.runs.follow(run.id):
            items.append(item)
            if isinstance(item, Delta):
                gate.open.set()
        assert "".join(item.text for item in items if isinstance(item, Delta)) == "It is late."
        assert [item.type for item in items if isinstance(item, Event)][-1] == "run.completed"
        assert (await client.runs.get(run.id)).answer == "It is late."
        assert [step.key async for step in client.runs.steps(run.id).every(50)] == ["turn-0", "turn-0.call-0", "turn-1"]
        second = await client.runs.start("worker", "And now?", conversation_id=run.conversation_id)
        assert [item async for item in client.runs.follow(second.id)]
        talk = await client.conversation(run.conversation_id or "")
        assert [(one.role, one.content) for one in talk.messages] == [
            ("user", "What time is it?"),
            ("assistant", "It is late."),
            ("user", "And now?"),
            ("assistant", "Later still."),
        ]
        assert [one.id async for one in client.runs.list(agent="worker", status="completed").every(1)] == [second.id]
        job = await client.agents.index("worker")
        assert [state async for state in client.jobs.watch(job.job_id)][-1].status == "completed"
        assert [one.id async for one in client.jobs.list().every(5)] == [job.job_id]
        assert (await client.models()).provider == "scripted"
        assert "read_file" in {tool.name async for tool in client.tools().every(50)}
        assert (await client.health()).checks["database"] == "healthy"
        assert (await client.health("live")).status == "healthy"
        assert "atom_memory_usage_bytes" in await client.metrics()
        told = feed(atom.url, atom.token)
        assert isinstance(first := await anext(told), Event)
        assert first.type in {"token.created", "agent.created"}
        for verb in (client.agents.pause, client.agents.resume, client.agents.retire):
            assert (await verb("worker")).name == "worker"


async def test_what_the_server_refuses_is_the_error_it_raised(database: URL, home: Path) -> None:
    async with (
        running_atom(with_keys(settings_for_tests(home)), database) as atom,
        AtomClient(atom.url, atom.token) as client,
    ):
        await client.agents.create("worker")
        token = await client.tokens.create("viewer", "viewer", expires_in_days=1)
        assert [one.name async for one in client.tokens.list().every(5)] == ["viewer", "admin"]
        for work, kind, code in (
            (client.agents.get("nobody"), NotFoundError, "agent_not_found"),
            (client.agents.create("worker"), ConflictError, "agent_exists"),
            (client.agents.create("a b"), InvalidError, "agent_invalid"),
            (client.runs.get("x"), InvalidError, "invalid_request"),
            (client.runs.start("worker", " "), InvalidError, "task_invalid"),
        ):
            with pytest.raises(kind) as refused:
                await work
            assert (refused.value.code, bool(refused.value.message)) == (code, True)
        async with AtomClient(atom.url, token.token) as viewer:
            with pytest.raises(ForbiddenError) as denied:
                await viewer.agents.create("x")
            assert denied.value.details["permission"] == "agents:write"
            await client.tokens.revoke(token.id)
            with pytest.raises(UnauthenticatedError):
                await viewer.agents.get("worker")
