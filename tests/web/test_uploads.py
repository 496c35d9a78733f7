"""Files over REST: whatever its name, a file ends inside the workspace; what is refused or cut off leaves nothing."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from atom.web.testing import RunningAtom

HOSTILE = [
    "../../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/passwd", "C:\\x.txt", "a/../../b.txt", "~/x", "-rf",
    "$(id).txt", "a;b|c&d.txt", "a\tb.txt", "..hidden", ".bashrc", "con.txt", "x" * 300 + ".txt",
    "\u6f22" * 200 + ".txt", "\U0001f600" * 90, "a." + "\u6f22" * 50, "caf\xe9.txt", "cafe\u0301.txt",
    "\u202etxt.exe", "a\u200bb.txt", "a" * 119 + ".tar.gz", "uploads", "a.part",
]  # fmt: skip


@pytest.fixture
def agent() -> str:
    return f"files-{uuid4().hex[:8]}"


def inside(web: RunningAtom, agent_id: str) -> list[Path]:
    folder = web.folder(agent_id)
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


async def test_whatever_its_name_a_file_lands_in_the_workspace(web: RunningAtom, agent: str) -> None:
    made = await web.agent(agent)
    before = {
        path for path in web.atom.settings.home.parent.rglob("*") if "workspaces" not in path.parts and path.is_file()
    }
    paths = []
    for name in HOSTILE:
        answer = await web.http.post(f"/api/agents/{agent}/files", files={"file": (name, b"data")})
        assert answer.status_code == 201, (name, answer.text)
        path = Path(answer.json()["path"])
        assert path.parts[0] == "uploads"
        assert len(path.parts) == 3
        assert ".." not in path.parts
        assert not path.name.startswith((".", " "))
        assert answer.json()["bytes"] == 4
        paths.append(path)
    assert sorted(paths) == inside(web, made["id"])
    after = {
        path for path in web.atom.settings.home.parent.rglob("*") if "workspaces" not in path.parts and path.is_file()
    }
    assert {path for path in after - before if path.name not in {"atom.log"} and "postgres" not in path.parts} == set()
    run = await web.http.post(
        f"/api/agents/{agent}/runs", json={"task": "x", "files": [path.as_posix() for path in paths]}
    )
    assert run.status_code == 202


@pytest.mark.parametrize("name", ["", " ", ".", "..", "/", "a/", "...", "\\"])
async def test_a_file_without_a_name_is_refused(web: RunningAtom, agent: str, name: str) -> None:
    made = await web.agent(agent)
    answer = await web.http.post(f"/api/agents/{agent}/files", files={"file": (name, b"data")})
    assert (answer.status_code, answer.json()["code"]) in {(422, "upload_invalid"), (422, "invalid_request")}
    assert inside(web, made["id"]) == []


async def test_names_that_are_equal_do_not_overwrite_each_other(web: RunningAtom, agent: str) -> None:
    made = await web.agent(agent)
    sent = [
        web.http.post(f"/api/agents/{agent}/files", files={"file": ("same.txt", str(n).encode())}) for n in range(10)
    ]
    answers = await asyncio.gather(*sent)
    assert len({answer.json()["path"] for answer in answers}) == 10
    assert len(inside(web, made["id"])) == 10


async def test_an_upload_that_is_cut_off_leaves_nothing(web: RunningAtom, agent: str) -> None:
    made = await web.agent(agent)
    parts = urlsplit(web.url)
    head = (
        f"POST /api/agents/{agent}/files HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {web.token}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    )
    for _ in range(5):
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(head.encode() + b"x" * 300_000)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    whole = await web.http.post(f"/api/agents/{agent}/files", files={"file": ("b.txt", b"data")})
    assert whole.status_code == 201
    assert [path.name for path in inside(web, made["id"])] == ["b.txt"]


NOWHERE: list[Any] = [
    "nothing.txt", "../x", "/etc/passwd", "uploads", "", ".", "x" * 300, "x/" * 400, "\x00", "\ud800", "a\x00b",
    "\u6f22" * 300, "*",
]  # fmt: skip


@pytest.mark.parametrize("path", NOWHERE)
async def test_a_run_is_given_only_files_that_are_there(web: RunningAtom, agent: str, path: str) -> None:
    await web.agent(agent)
    body = json.dumps({"task": "x", "files": [path]}).encode()
    answer = await web.http.post(
        f"/api/agents/{agent}/runs", content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "file_missing")


async def test_a_link_out_of_the_workspace_is_no_file_of_it(web: RunningAtom, agent: str) -> None:
    made = await web.agent(agent)
    folder = web.folder(made["id"])
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to("loop")
    for name in ("link", "loop"):
        answer = await web.http.post(f"/api/agents/{agent}/runs", json={"task": "x", "files": [name]})
        assert (answer.status_code, answer.json()["code"]) == (422, "file_missing")
