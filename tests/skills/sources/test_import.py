"""Importing from an address: through the policy, with its source in the answer and in the audit."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import text

from atom.infra.db import unit_of_work
from atom.settings import SkillSettings
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.skills.packing import MANIFEST
from tests.skills.sources.test_repository import COMMIT, zip_of_repository
from tests.support.shell import Shell

HEAD = b"HTTP/1.1 %b\r\ncontent-type: text/html\r\ncontent-length: %d\r\nconnection: close\r\n%b\r\n"


@dataclass(slots=True)
class Forge:
    """Answers with what a test puts there; remembers what it was asked."""

    pages: dict[str, tuple[bytes, bytes, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, path: str, body: bytes, *, status: bytes = b"200 OK", location: str = "") -> None:
        self.pages[path] = (status, f"location: {location}\r\n".encode() if location else b"", body)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        self.asked.append(path)
        status, more, body = self.pages.get(path, (b"404 Not Found", b"", b""))
        try:
            writer.write(HEAD % (status, len(body), more) + body)
            await writer.drain()
        except OSError:
            return  # it has had enough
        finally:
            writer.close()


@pytest_asyncio.fixture(scope="module")
async def server() -> AsyncIterator[Forge]:
    made = Forge()
    listening = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()


@pytest_asyncio.fixture(scope="module")
async def web(cluster: Any, open_folder: Path, server: Forge) -> AsyncIterator[RunningAtom]:
    home = open_folder / uuid4().hex[:8]
    home.mkdir(mode=0o711)
    name = f"sources_{uuid4().hex[:12]}"
    database = cluster.create(name, "atom_template")
    allowed = SkillSettings(import_allow=("*", f"127.0.0.1:{server.port}"))
    async with running_atom(settings_for_tests(home, skills=allowed), database) as atom:
        yield atom
    cluster.drop(name)


@pytest.fixture
def forge(server: Forge) -> Forge:
    server.pages.clear()
    server.asked.clear()
    return server


def named(name: str) -> bytes:
    return MANIFEST.replace(b"name: good", f"name: {name}".encode())


async def take(web: RunningAtom, url: str, **more: Any) -> httpx2.Response:
    return await web.http.post("/api/skills/import", data={"url": url}, **more)


async def audited(web: RunningAtom, name: str) -> list[Any]:
    query = "SELECT data FROM audit_entry WHERE action = 'skill' AND data->>'skill' = :name ORDER BY id"
    async with unit_of_work(web.atom.parts.base.sessions) as session:
        return [row[0] for row in await session.execute(text(query), {"name": name})]


async def test_a_folder_of_a_repository_is_imported_with_its_source(web: RunningAtom, forge: Forge) -> None:
    tree = {"README.md": b"#\n", "skills/one/SKILL.md": named("one"), "skills/two/SKILL.md": named("two")}
    forge.put("/o/r/archive/main.zip", b"", status=b"302 Found", location=f"{forge.url}/files/r-main.zip?token=secret")
    forge.put("/files/r-main.zip?token=secret", zip_of_repository(tree))
    answer = await take(web, f"{forge.url}/o/r/tree/main/skills/two")
    assert answer.status_code == 201, answer.text
    source = {
        "url": f"{forge.url}/o/r/tree/main/skills/two",
        "archive": f"{forge.url}/files/r-main.zip",
        "ref": "main",
        "commit": COMMIT,
        "folder": "skills/two",
    }
    assert (answer.json()["name"], answer.json()["source"]) == ("two", source)
    assert answer.json()["version"]["status"] == "quarantined"
    (entry,) = await audited(web, "two")
    assert entry["source"] == source
    again = await take(web, f"{forge.url}/o/r/tree/main/skills/two")
    assert (again.status_code, again.json()["created"]) == (200, False)


async def test_several_skills_are_listed_with_how_to_ask(web: RunningAtom, forge: Forge) -> None:
    tree = {f"s/{number:02}/SKILL.md": named(f"s{number}") for number in range(25)}
    forge.put("/o/r/archive/HEAD.zip", zip_of_repository(tree))
    answer = await take(web, f"{forge.url}/o/r")
    assert (answer.status_code, answer.json()["code"]) == (422, "skill_source_ambiguous")
    listed = ", ".join(f"s/{number:02}" for number in range(20))
    assert answer.json()["detail"] == f"There are 25 skills in it: {listed} and 5 more."
    assert f"{forge.url}/o/r/tree/HEAD/s/00" in answer.json()["hint"]
    asked = await take(web, f"{forge.url}/o/r/tree/HEAD/s/07")
    assert (asked.status_code, asked.json()["name"]) == (201, "s7")


async def test_a_branch_with_a_slash_is_found(web: RunningAtom, forge: Forge) -> None:
    forge.put("/o/r/archive/feature/x.zip", zip_of_repository({"a/SKILL.md": named("slashed")}))
    answer = await take(web, f"{forge.url}/o/r/tree/feature/x/a")
    assert (answer.status_code, answer.json()["source"]["ref"]) == (201, "feature/x")
    assert forge.asked == ["/o/r/archive/feature.zip", "/o/r/archive/feature/x.zip"]


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("http://127.0.0.1:1/o/r", 403, "egress_refused"),
        ("https://10.0.0.1/o/r", 403, "egress_refused"),
        ("https://169.254.169.254/o/r.zip", 403, "egress_refused"),
        ("https://localhost/o/r", 403, "egress_refused"),
        ("https://user:hunter2@example.com/o/r", 403, "egress_refused"),
        ("http://example.com/o/r.zip", 422, "skill_source_invalid"),
        ("file:///etc/passwd", 422, "skill_source_invalid"),
        (" ", 422, "skill_source_invalid"),
    ],
)
async def test_other_places_are_not_gone_to(web: RunningAtom, forge: Forge, url: str, status: int, code: str) -> None:
    answer = await take(web, url)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert forge.asked == []
    assert "hunter2" not in answer.text


async def test_a_redirect_is_judged_anew(web: RunningAtom, forge: Forge) -> None:
    forge.put("/o/r/archive/HEAD.zip", b"", status=b"302 Found", location="http://127.0.0.1:1/evil.zip")
    answer = await take(web, f"{forge.url}/o/r")
    assert (answer.status_code, answer.json()["code"]) == (403, "egress_refused")


@pytest.mark.parametrize(
    ("status", "body", "wanted", "code"),
    [
        (b"404 Not Found", b"", 404, "skill_source_not_found"),
        (b"401 Unauthorized", b"", 503, "skill_source_failed"),
        (b"500 Oops", b"", 503, "skill_source_failed"),
        (b"200 OK", b"<!doctype html>Sign in", 422, "skill_archive_broken"),
        (b"200 OK", zip_of_repository({"README.md": b"#\n"}), 422, "skill_manifest_unreadable"),
        (b"200 OK", bytes(21 * 1024 * 1024), 413, "egress_too_large"),
    ],
)
async def test_what_is_not_a_skill_is_told(
    web: RunningAtom, forge: Forge, status: bytes, body: bytes, wanted: int, code: str
) -> None:
    forge.put("/o/r/archive/v1.zip", body, status=status)
    answer = await take(web, f"{forge.url}/o/r/tree/v1")
    assert (answer.status_code, answer.json()["code"]) == (wanted, code), answer.text


async def test_a_file_or_an_address_and_not_both(web: RunningAtom) -> None:
    both = await take(web, "https://example.com/x.zip", files={"file": ("SKILL.md", MANIFEST)})
    none = await web.http.post("/api/skills/import", data={"other": "x"})
    assert [(one.status_code, one.json()["code"]) for one in (both, none)] == [(422, "invalid_input")] * 2


async def test_it_needs_the_permission_to_import(web: RunningAtom, forge: Forge) -> None:
    made = (await web.http.post("/api/tokens", json={"name": "viewer", "role": "viewer"})).json()
    answer = await take(web, f"{forge.url}/o/r", headers={"Authorization": f"Bearer {made['token']}"})
    assert (answer.status_code, answer.json()["permission"]) == (403, "skills:write")
    assert forge.asked == []


@pytest.mark.slow
async def test_the_command_lets_the_server_fetch(web: RunningAtom, forge: Forge) -> None:
    forge.put("/o/r/archive/HEAD.zip", zip_of_repository({"x/SKILL.md": named("by-command")}))
    shell = Shell(web.atom.settings.home, web.url, web.token)
    said = await shell("skills", "import", f"{forge.url}/o/r")
    assert "by-command version 1 is quarantined" in said.out
    assert f"/o/r/archive/HEAD.zip, commit {COMMIT}, folder x" in said.err
    refused = await shell("skills", "import", "https://10.0.0.1/o/r", "--json", code=1)
    assert refused.json()["error"]["code"] == "egress_refused"
