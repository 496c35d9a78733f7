"""Neither end of the connection believes the other: a runner that was taken over, and a caller that was."""

import asyncio
import base64
import json
import tempfile
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from atom.settings import SandboxSettings
from atom.skills.layers.models import Wanted
from atom.skills.sandbox.adapters.child import RunnerChild
from atom.skills.sandbox.adapters.remote import RemoteSandbox, RunnerUnavailableError
from atom.skills.sandbox.models import ExitReason, Language, Limits, Result, Spec
from atom.skills.sandbox.runner.address import Address
from atom.skills.sandbox.runner.handshake import admit, new_key
from atom.skills.sandbox.runner.messages import LENGTH, Request, receive

SOURCE = b"print(1)\n"
Answer = Callable[[StreamReader, StreamWriter], Awaitable[None]]


def spec(source: bytes = SOURCE, **more: Any) -> Spec:
    return Spec(Language.PYTHON, "m.py", {"m.py": source}, b"[1]", more.pop("limits", Limits(seconds=30)), **more)


@pytest.fixture
async def child() -> AsyncIterator[RunnerChild]:
    made = RunnerChild(SandboxSettings(), Path(tempfile.gettempdir()))
    yield made
    await made.aclose()


@asynccontextmanager
async def runner(answer: Answer) -> AsyncIterator[RemoteSandbox]:
    """One that knows the key and then does as it likes."""
    key = new_key()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await admit(reader, writer, key)
            await answer(reader, writer)
        except (EOFError, OSError):
            pass
        finally:
            writer.close()

    with tempfile.TemporaryDirectory(prefix="atom-lies-") as folder:
        server = await asyncio.start_unix_server(serve, f"{folder}/s")
        try:
            yield RemoteSandbox(Address(path=f"{folder}/s"), key)
        finally:
            server.close()


def said(writer: StreamWriter, text: str) -> None:
    body = text.encode()
    writer.write(len(body).to_bytes(LENGTH, "little") + body)


async def answered(one: Spec, text: str) -> Result:
    """What Atom makes of a result that a runner words like this."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await receive(reader, Request)
        said(writer, '{"began": true}')
        said(writer, text)
        await writer.drain()

    async with runner(answer) as remote:
        return await remote.run(one)


def worded(id_: UUID, **more: Any) -> str:
    plain = {"id": str(id_), "backend": "bwrap", "reason": "ok", "detail": "It ended with 0.", "exit_code": 0}
    return json.dumps({"result": {**plain, **more}})


def artefact(name: str, body: bytes = b"x") -> dict[str, str]:
    return {"name": name, "body": base64.b64encode(body).decode()}


LIES: dict[str, dict[str, Any]] = {
    "a file outside": {"artefacts": [artefact("../../x")]},
    "an absolute file": {"artefacts": [artefact("/etc/x")]},
    "a name with a NUL": {"artefacts": [artefact("a\0b")]},
    "a name that moves the cursor": {"artefacts": [artefact("a\x1b[2J")]},
    "a name that no row takes": {"artefacts": [artefact("a/" * 150 + "a")]},
    "one name twice": {"artefacts": [artefact("a"), artefact("a")]},
    "too many files": {"artefacts": [artefact(f"f{number}") for number in range(65)]},
    "files that are too large": {"artefacts": [artefact("a", bytes(2000))]},
    "more output than there may be": {"stdout": base64.b64encode(bytes(3 << 20)).decode()},
    "an exit code of no program": {"exit_code": 1 << 40},
    "a time that is no number": {"usage": {"cpu_seconds": float("nan")}},
    "bytes beyond counting": {"usage": {"memory": 10**400}},
    "a value that is no JSON": {"value": float("inf"), "has_value": True},
    "a backend with a NUL": {"backend": "bw\0rap"},
    "another execution": {"id": str(UUID(int=7))},
}


@pytest.mark.parametrize("lie", LIES)
async def test_result_that_no_sandbox_would_give_is_not_taken(lie: str) -> None:
    one = spec(limits=Limits(seconds=30, output=1000, artefact_bytes=1000))
    result = await answered(one, worded(one.id, **LIES[lie]))
    assert (result.id, result.reason, result.backend) == (one.id, ExitReason.ENGINE, "runner")
    assert result.artefacts == ()
    assert len(result.detail) < 300
    assert result.detail.isprintable()


async def test_plain_result_is_taken() -> None:
    one = spec()
    result = await answered(one, worded(one.id, artefacts=[artefact("a/b.txt")], value={"a": [1]}, has_value=True))
    assert (result.reason, result.value) == (ExitReason.OK, {"a": [1]})
    assert [made.name for made in result.artefacts] == ["a/b.txt"]


async def test_name_of_an_unknown_field_is_not_repeated_without_end() -> None:
    one = spec()
    result = await answered(one, json.dumps({"\x1b[31m" + "a" * 100_000: 1}))
    assert result.reason is ExitReason.ENGINE
    assert len(result.detail) < 300


async def test_message_larger_than_the_program_can_make_it_is_not_read() -> None:
    one = spec(limits=Limits(seconds=30, output=1000, artefact_bytes=1000))

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await receive(reader, Request)
        said(writer, '{"began": true}')
        writer.write((256 << 20).to_bytes(LENGTH, "little"))
        await writer.drain()
        await reader.read()  # until Atom has had enough

    async with runner(answer) as remote:
        async with asyncio.timeout(20):
            result = await remote.run(one)
    assert result.reason is ExitReason.ENGINE
    assert "bytes" in result.detail


async def test_report_as_large_as_a_disk_is_not_read() -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await receive(reader, Request)
        writer.write((256 << 20).to_bytes(LENGTH, "little"))
        await writer.drain()
        await reader.read()

    async with runner(answer) as remote:
        async with asyncio.timeout(20):
            with pytest.raises(RunnerUnavailableError):
                await remote.report()


async def test_runner_that_never_reads_is_given_up() -> None:
    """A message that fits into no buffer is not waited for longer than for a turn."""
    given_up = asyncio.Event()
    left: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        del writer
        await given_up.wait()
        left.set_result(len(await reader.read()))

    large = replace(spec(), files={"m.py": SOURCE, "large": bytes(20 << 20)})
    async with runner(answer) as remote:
        async with asyncio.timeout(20):
            result = await replace(remote, queue_seconds=0.5).run(large)
            given_up.set()
            assert await left < 20 << 20, "Atom goes on to send what nobody waits for"
    assert result.reason is ExitReason.ENGINE


async def test_caller_cannot_have_a_folder_of_the_runners_machine_read(child: RunnerChild) -> None:
    """Whoever knows the key may have programs run, and nothing else: layers are the runner's to choose."""
    remote = await child.at_work()
    source = b"import os, sys\nprint([one for one in sys.path if 'layer' in one], os.environ.get('PYTHONPATH'))\n"
    result = await remote.run(spec(source, layers=("/etc",)))
    assert (result.reason, result.stdout) == (ExitReason.ENGINE, b"")
    assert (await remote.run(spec())).reason is ExitReason.OK


async def test_half_a_character_in_a_result_is_the_scripts_fault_and_said_so(child: RunnerChild) -> None:
    source = (
        b"import json, os\nvalue = json.dumps({'name': '\\udcff'})\n"
        b"os.write(int(os.environ['SKILL_RESULT_FD']), (os.environ['SKILL_RESULT_NONCE'] + ' ' + value).encode())\n"
    )
    result = await (await child.at_work()).run(spec(source))
    assert (result.reason, result.has_value) == (ExitReason.ERROR, False)
    assert "result was not taken" in result.detail


async def test_file_whose_path_is_too_long_to_keep_is_left_out_by_its_name(child: RunnerChild) -> None:
    source = (
        b"import os\nfolder = 'output/' + 'a' * 120 + '/' + 'b' * 120\nos.makedirs(folder)\n"
        b"open(folder + '/c', 'w').close()\nopen('output/d', 'w').close()\n"
    )
    result = await (await child.at_work()).run(spec(source))
    assert result.reason is ExitReason.OK
    assert [made.name for made in result.artefacts] == ["d"]
    assert [why for _, why in result.refused] == ["its name"]


async def test_very_many_folders_that_are_not_taken_are_told_in_few_words(child: RunnerChild) -> None:
    source = b"""
import os
for first in range(60):
    for second in range(60):
        os.makedirs(f"output/{first}/{second}")
        os.symlink("/", f"output/{first}/{second}/link")
"""
    result = await (await child.at_work()).run(spec(source))
    assert result.reason is ExitReason.OK
    assert len(result.refused) <= Limits().artefacts + 2
    assert result.refused[-1][1] == "more entries than are looked at"


WORDS: dict[str, dict[str, Any]] = {
    "a refusal without end": {"refused": "a" * 1_000_000},
    "a code that is none": {"failed": {"kind": "invalid", "code": "a\x1b[2J", "message": "no"}},
    "a message without end": {"failed": {"kind": "invalid", "code": "no", "message": "a" * 1_000_000}},
}


@pytest.mark.parametrize("words", WORDS)
async def test_words_of_a_runner_are_bounded(words: str) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await receive(reader, Request)
        said(writer, json.dumps(WORDS[words]))
        await writer.drain()

    async with runner(answer) as remote:
        with pytest.raises(RunnerUnavailableError, match="does not answer") as raised:
            await remote.build(Wanted())
    assert len(str(raised.value)) < 500
