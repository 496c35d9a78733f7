"""What a run leaves in its workspace: on record with the call that wrote it, fetched only as it was left."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from atom.client import AtomClient
from atom.llm.adapters.script import Reply
from atom.llm.testing import call
from atom.runs.artefacts import describe
from atom.web.testing import RunningAtom

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]


def write(path: str, content: str) -> Reply:
    return Reply(tool_calls=(call("write_file", path=path, content=content),))


def digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


async def finished(atom: RunningAtom) -> dict[str, Any]:
    await atom.agent(tools=["write_file", "delete_file"], maturity="supervised")
    run = await atom.done("worker", "write")
    assert run["status"] == "completed", run
    return run


def folder(atom: RunningAtom, run: dict[str, Any]) -> Path:
    return Path(atom.workspaces, run["agent_id"])


async def test_files_of_a_run_are_listed_as_they_were_left(start: Start) -> None:
    replies = [write("b.txt", "first"), write("./out//a \u00e9.txt", "eins"), write("b.txt", "second!"), "done"]
    async with start(*replies) as atom:
        run = await finished(atom)
        page = (await atom.http.get(f"/api/runs/{run['id']}/artefacts")).json()
        assert [(item["path"], item["bytes"], item["sha256"], item["step"]) for item in page["items"]] == [
            ("b.txt", 7, digest("second!"), "turn-2.call-0"),
            ("out/a \u00e9.txt", 4, digest("eins"), "turn-1.call-0"),
        ]
        first = (await atom.http.get(f"/api/runs/{run['id']}/artefacts?limit=1")).json()
        assert [item["path"] for item in first["items"]] == ["b.txt"]
        rest = await atom.http.get(f"/api/runs/{run['id']}/artefacts", params={"after": first["next"]})
        assert [item["path"] for item in rest.json()["items"]] == ["out/a \u00e9.txt"]


async def test_file_is_fetched_byte_for_byte_and_never_shown_as_a_page(start: Start) -> None:
    content = "<script>alert(1)</script>\n" * 30_000
    async with start(write("out/page.html", content), "done") as atom, AtomClient(atom.url, atom.token) as client:
        run = await finished(atom)
        answer = await atom.http.get(f"/api/runs/{run['id']}/artefacts/out/page.html")
        assert answer.status_code == 200
        assert answer.text == content
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert await client.runs.download(run["id"], "out/page.html") == content.encode()


@pytest.mark.parametrize("change", ["changed", "deleted", "a link"])
async def test_what_is_not_as_it_was_left_is_refused(start: Start, change: str) -> None:
    async with start(write("a.txt", "left"), "done") as atom:
        run = await finished(atom)
        file = folder(atom, run) / "a.txt"
        if change == "changed":
            file.write_text("other")
        else:
            file.unlink()
        if change == "a link":
            (folder(atom, run) / "elsewhere.txt").write_text("left")
            file.symlink_to("elsewhere.txt")
        answer = await atom.http.get(f"/api/runs/{run['id']}/artefacts/a.txt")
        assert (answer.status_code, answer.json()["code"]) == (409, "artefact_changed")


@pytest.mark.parametrize("path", ["b.txt", "../secret", "%2e%2e/secret", "/etc/passwd", "a.txt/", "a\u0000"])
async def test_only_what_the_run_wrote_can_be_fetched(start: Start, path: str) -> None:
    async with start(write("a.txt", "x"), "done") as atom:
        run = await finished(atom)
        (folder(atom, run) / "b.txt").write_text("of somebody else")
        (folder(atom, run).parent / "secret").write_text("hidden")
        where = path.replace("\u0000", "%00")
        answer = await atom.http.get(f"/api/runs/{run['id']}/artefacts/{where}")
        assert answer.status_code in {400, 404, 422}
        assert "hidden" not in answer.text


async def test_run_that_is_not_there_has_no_artefacts(start: Start) -> None:
    async with start() as atom:
        nobody = "01a20a0d-8e88-7117-9c08-46edfd98777f"
        for where in ("", "/a.txt"):
            answer = await atom.http.get(f"/api/runs/{nobody}/artefacts{where}")
            assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")


def test_file_that_is_gone_or_no_file_is_no_artefact(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "folder").mkdir()
    found = describe(tmp_path, ["a", "gone", "link", "folder", "../a", "a"])
    assert [(one.path, one.bytes, one.sha256) for one in found] == [("a", 1, digest("x"))]
