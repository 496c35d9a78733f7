"""The client's exchanges: typed replies, translated errors, and repeats only where they are safe."""

import asyncio
import io
import signal
from collections.abc import AsyncIterator

import httpx2
import pytest

from atom.client import AtomClient, BlockingAtom
from atom.client.testing import AT, TOKEN, FakeAtom, Fault, serving
from atom.client.transport import UrlError
from atom.errors import (
    AtomError,
    ConflictError,
    DeadlineError,
    ForbiddenError,
    InternalError,
    InvalidError,
    LimitedError,
    NotFoundError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
)


async def no_wait(seconds: float) -> None:
    assert 0 <= seconds <= 15


@pytest.fixture
async def atom() -> FakeAtom:
    fake = FakeAtom()
    fake.add_agent("guide", tools=["read_file"])
    return fake


@pytest.fixture
async def client(atom: FakeAtom) -> AsyncIterator[AtomClient]:
    transport = httpx2.ASGITransport(atom.app())
    async with AtomClient("http://127.0.0.1", TOKEN, transport=transport, pause=no_wait) as made:
        yield made


async def test_every_route_has_a_typed_method(client: AtomClient, atom: FakeAtom) -> None:
    made = await client.agents.create("other", instructions="Be brief.", tools=["read_file"])
    assert (made.name, made.version, made.tools) == ("other", 1, ("read_file",))
    assert (await client.agents.update("other", tools=[])).version == 2
    assert (await client.agents.pause("other")).status == "paused"
    assert (await client.agents.resume("other")).status == "active"
    assert (await client.agents.retire("other")).status == "retired"
    assert [agent.name for agent in (await client.agents.list(status="active").page(10)).items] == ["guide"]
    assert (await client.agents.versions("guide").page(10)).items[0].version == 1
    assert (await client.agents.upload("guide", "a.txt", io.BytesIO(b"abc"))).path == "in/a.txt"
    atom.jobs["j"] = [{"id": "j", "kind": "index", "status": "completed"}]
    assert (await client.agents.index("guide")).job_id == "j"
    run = await client.runs.start("guide", "task", files=["in/a.txt"], model="m")
    assert atom.bodies[-1] == {"task": "task", "files": ["in/a.txt"], "model": "m"}
    assert (await client.runs.get(run.id)).status == "queued"
    assert (await client.runs.steps(run.id).page(5)).items == ()
    assert (await client.runs.cancel(run.id)).ended
    assert len((await client.runs.list(agent="guide").page(5)).items) == 1
    assert (await client.conversation("c")).messages[0].content == "hello"
    assert (await client.tools().page(5)).items[0].risk == 1
    assert (await client.models()).provider == "local"
    token = await client.tokens.create("ci", "viewer", expires_in_days=3)
    assert token.token == "atom_new_secret"
    assert (await client.tokens.list().page(5)).items[0].id == token.id
    await client.tokens.revoke(token.id)
    assert (await client.jobs.list().page(5)).items[0].id == "j"
    assert (await client.jobs.get("j")).ended
    assert (await client.jobs.cancel("j")).id == "j"
    assert (await client.health()).checks == {"database": "healthy"}
    assert "atom_up" in await client.metrics()


async def test_a_list_is_walked_page_by_page_up_to_the_limit(client: AtomClient, atom: FakeAtom) -> None:
    for number in range(450):
        atom.add_run("guide", f"task {number}")
    tasks = [run.task async for run in client.runs.list().every(430)]
    assert tasks == [f"task {number}" for number in range(430)]
    assert [seen.query for seen in atom.seen] == ["limit=200", "limit=200&after=200", "limit=30&after=400"]


STATUSES: list[tuple[int, type[AtomError]]] = [
    (400, InvalidError),
    (401, UnauthenticatedError),
    (403, ForbiddenError),
    (404, NotFoundError),
    (409, ConflictError),
    (413, TooLargeError),
    (418, InvalidError),
    (422, InvalidError),
    (429, LimitedError),
    (500, InternalError),
    (502, UnavailableError),
    (503, UnavailableError),
    (504, DeadlineError),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_a_problem_becomes_the_error_it_names(
    client: AtomClient, atom: FakeAtom, status: int, kind: type[AtomError]
) -> None:
    body = {"status": status, "code": "the_code", "detail": "What happened.", "hint": "What to do.", "field": "task"}
    atom.faults.append(Fault("/api/models", status, body, times=9))
    with pytest.raises(kind) as caught:
        await client.models()
    assert (caught.value.code, caught.value.message, caught.value.hint) == ("the_code", "What happened.", "What to do.")
    assert caught.value.details["field"] == "task"


async def test_a_reply_that_is_not_atoms_is_named_as_such(client: AtomClient, atom: FakeAtom) -> None:
    atom.faults.append(Fault("/api/models", 200, {"hello": "I am a printer"}))
    with pytest.raises(InternalError) as caught:
        await client.models()
    assert caught.value.code == "bad_reply"
    assert "provider" in caught.value.message


async def test_fields_of_a_newer_server_are_kept(client: AtomClient, atom: FakeAtom) -> None:
    atom.agents["guide"]["colour"] = "blue"
    shown = (await client.agents.get("guide")).plain()
    assert shown["colour"] == "blue"
    assert shown["created_at"] == AT


RETRY = {"Retry-After": "1"}


async def test_a_read_is_repeated_while_the_server_asks_for_it(client: AtomClient, atom: FakeAtom) -> None:
    atom.faults.append(Fault("/api/models", 503, {}, RETRY, times=2))
    assert (await client.models()).provider == "local"
    assert len(atom.seen) == 3


async def test_repeats_are_bounded(client: AtomClient, atom: FakeAtom) -> None:
    atom.faults.append(Fault("/api/models", 503, {}, RETRY, times=99))
    with pytest.raises(UnavailableError):
        await client.models()
    assert len(atom.seen) == 4


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "3600"}, {"Retry-After": "soon"}])
async def test_without_a_short_retry_after_nothing_is_repeated(
    client: AtomClient, atom: FakeAtom, headers: dict[str, str]
) -> None:
    atom.faults.append(Fault("/api/models", 503, {}, headers, times=99))
    with pytest.raises(UnavailableError):
        await client.models()
    assert len(atom.seen) == 1


async def test_a_post_without_a_key_is_never_repeated(client: AtomClient, atom: FakeAtom) -> None:
    atom.faults.append(Fault("/api/tokens", 503, {}, RETRY))
    with pytest.raises(UnavailableError):
        await client.tokens.create("ci", "viewer")
    assert len(atom.seen) == 1


async def test_a_start_is_repeated_under_its_key_and_starts_one_run(client: AtomClient, atom: FakeAtom) -> None:
    atom.faults.append(Fault("/api/agents/guide/runs", 503, {}, RETRY))
    run = await client.runs.start("guide", "task")
    keys = {seen.headers["idempotency-key"] for seen in atom.seen}
    assert len(keys) == 1
    assert len(atom.seen) == 2
    assert list(atom.runs) == [run.id]


async def test_a_redirect_is_not_followed(client: AtomClient, atom: FakeAtom) -> None:
    atom.faults.append(Fault("/api/models", 302, {}, {"Location": "http://evil.example/"}))
    with pytest.raises(UrlError):
        await client.models()


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "../runs"])
async def test_a_name_that_would_change_the_path_is_refused(client: AtomClient, atom: FakeAtom, name: str) -> None:
    with pytest.raises(InvalidError):
        await client.agents.get(name)
    assert atom.seen == []


async def test_a_name_is_one_segment_of_the_path(client: AtomClient, atom: FakeAtom) -> None:
    with pytest.raises(NotFoundError):
        await client.agents.get("odd name?limit=1#x")
    assert (atom.seen[0].path, atom.seen[0].query) == ("/api/agents/odd name?limit=1#x", "")


BAD_URLS = [
    "",
    "localhost:8000",
    "ftp://x",
    "http://",
    "http://a:b@host",
    "http://h:99999",
    "http://h/?q=1",
    "http://[",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_bad_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(UrlError) as caught:
        AtomClient(url)
    assert "a:b" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "t\u00f6ken"])
def test_a_token_that_no_header_carries_is_refused(token: str) -> None:
    with pytest.raises(InvalidError):
        AtomClient("http://localhost", token)


async def test_nobody_at_the_address_is_told_at_once_with_what_to_do() -> None:
    with serving(FakeAtom().app()) as url:
        pass
    async with AtomClient(url, TOKEN) as client:
        with pytest.raises(UnavailableError) as caught:
            await client.models()
    assert caught.value.code == "unreachable"
    assert caught.value.message == f"Atom does not answer at {url}."
    assert "`atom up`" in caught.value.hint


async def test_a_server_that_accepts_and_says_nothing_is_left_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, AtomClient(f"http://127.0.0.1:{port}", TOKEN, timeout=0.2) as client:
        with pytest.raises(DeadlineError) as caught:
            await client.models()
    assert caught.value.code == "no_answer_in_time"


async def test_a_cut_reply_to_a_read_is_asked_for_again() -> None:
    asked = 0

    async def cuts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        writer.close()

    server = await asyncio.start_server(cuts, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, AtomClient(f"http://127.0.0.1:{port}", TOKEN, pause=no_wait) as client:
        with pytest.raises(UnavailableError) as caught:
            await client.models()
        assert asked == 4
        with pytest.raises(UnavailableError):
            await client.tokens.create("ci", "viewer")
        assert asked == 5
    assert caught.value.code == "connection_dropped"


async def test_a_body_that_is_refused_early_is_told_with_the_servers_words(atom: FakeAtom) -> None:
    with serving(atom.app()) as url:
        async with AtomClient(url, TOKEN) as client:
            with pytest.raises(TooLargeError) as caught:
                await client.runs.start("guide", "x" * 10_000_000)
    assert "larger than" in caught.value.message
    assert atom.runs == {}


async def test_an_upload_says_how_far_it_is(client: AtomClient, atom: FakeAtom) -> None:
    heard: list[int] = []
    data = b"x" * 300_000
    await client.agents.upload("guide", "big.bin", io.BytesIO(data), progress=heard.append)
    assert atom.files["big.bin"] == data
    assert heard == sorted(heard)
    assert heard[-1] == len(data)


async def test_a_job_is_watched_to_its_end_over_interruptions(client: AtomClient, atom: FakeAtom) -> None:
    states = [{"id": "j", "kind": "index", "status": "running", "done": done, "total": 2} for done in (0, 1)]
    atom.jobs["j"] = [*states, {"id": "j", "kind": "index", "status": "failed", "done": 1, "total": 2}]
    atom.faults.append(Fault("/api/jobs", 502, times=3))
    seen = [(job.status, job.done) async for job in client.jobs.watch("j")]
    assert seen == [("running", 0), ("running", 1), ("failed", 1)]


def test_code_without_a_loop_uses_the_same_client() -> None:
    fake = FakeAtom()
    fake.add_agent("guide")
    with serving(fake.app()) as url, BlockingAtom(AtomClient(url, TOKEN)) as atom:
        assert atom.call(atom.client.agents.get("guide")).name == "guide"
        assert [tool.name for tool in atom.each(atom.client.tools().every(5))] == ["read_file"]
        assert next(atom.each(atom.client.agents.list().every(5))).name == "guide"
    assert len(fake.seen) == 3


def test_ctrl_c_is_one_also_where_a_library_below_cancels_once_more() -> None:
    async def work() -> None:
        signal.raise_signal(signal.SIGINT)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    with BlockingAtom(AtomClient("http://127.0.0.1:1", TOKEN)) as atom, pytest.raises(KeyboardInterrupt):
        atom.call(work())
