"""One contract for every place where workspaces live, and what only a bucket for several hosts has to keep."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore
from pydantic import SecretStr

from atom.errors import AtomError
from atom.kit.ids import new_id
from atom.runs.adapters.bucket_workspaces import BucketWorkspaces, bucket_workspaces, own_folder
from atom.runs.errors import UploadTooLargeError, WorkspaceTooLargeError, WorkspaceUnavailableError
from atom.runs.ports import Workspaces
from atom.runs.workspaces import LocalWorkspaces
from atom.settings import WorkspaceSettings
from tests.support.s3_server import new_bucket

AGENT = UUID("01a20a0d-8e88-7117-9c08-46edfd98777f")
LIMITS = WorkspaceSettings(max_files=50, max_bytes=10_000_000)
MAX = 6_000_000
Make = Callable[[str], Workspaces]


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def tree(workspaces: Workspaces, agent: UUID = AGENT) -> dict[str, bytes]:
    async with workspaces.opened(agent) as folder:
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


async def put(workspaces: Workspaces, path: str, content: bytes, *, save: bool = True) -> None:
    async with workspaces.opened(AGENT) as folder:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        if save:
            await workspaces.save(AGENT)


def on(bucket: ObjectStore, folder: Path, name: str) -> BucketWorkspaces:
    return BucketWorkspaces(bucket, "s3://test", own_folder(folder / name), LIMITS, MAX)


def s3_settings(endpoint: str, bucket: str, **more: object) -> WorkspaceSettings:
    values = {
        "url": f"s3://{bucket}/atom",
        "endpoint": endpoint,
        "access_key_id": "key-id",
        **LIMITS.model_dump(include={"max_files", "max_bytes"}),
    }
    return WorkspaceSettings.model_validate({**values, "secret_access_key": SecretStr("hidden-secret"), **more})


@pytest.fixture(params=["local", "memory", "files", "s3"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Hosts by name, all of one deployment."""
    if request.param == "local":
        return lambda _: LocalWorkspaces(tmp_path / "workspaces", MAX)
    if request.param == "s3":
        endpoint = request.getfixturevalue("s3_endpoint")
        settings = s3_settings(endpoint, new_bucket(endpoint))
        return lambda name: bucket_workspaces(settings, tmp_path / name, MAX)
    (tmp_path / "bucket").mkdir()
    bucket: ObjectStore = MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "bucket")
    return lambda name: on(bucket, tmp_path, name)


async def test_what_one_host_saves_another_opens(make: Make) -> None:
    one, two = make("one"), make("two")
    big = os.urandom(5_500_000)
    await put(one, "docs/a \u00e9.txt", b"hello")
    await put(one, "big.bin", big)
    assert await tree(two) == {"docs/a \u00e9.txt": b"hello", "big.bin": big}
    await put(two, "docs/a \u00e9.txt", b"changed")
    async with two.opened(AGENT) as folder:
        (folder / "big.bin").unlink()
        await two.save(AGENT)
    assert await tree(one) == {"docs/a \u00e9.txt": b"changed"}
    assert await tree(one, new_id()) == {}


async def test_upload_is_there_for_every_host_and_nothing_is_left_of_one_that_is_refused(make: Make) -> None:
    one, two = make("one"), make("two")
    path, size = await one.store(AGENT, "../../re port.md", pieces(b"ab", b"c"))
    assert size == 3
    assert path.startswith("uploads/")
    assert await two.has_file(AGENT, path)
    assert (await tree(two))[path] == b"abc"
    with pytest.raises(UploadTooLargeError):
        await one.store(AGENT, "big", pieces(b"x" * MAX, b"y"))
    assert list(await tree(two)) == [path]
    for odd in ("nothing", "../secret", "", "uploads", "a\x00b", "/etc/passwd", "x" * 5000):
        assert not await two.has_file(AGENT, odd)


@pytest.fixture(params=["memory", "s3"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[BucketWorkspaces, BucketWorkspaces]:
    """Two hosts on one bucket."""
    if request.param == "memory":
        store = MemoryStore()
        return on(store, tmp_path, "one"), on(store, tmp_path, "two")
    endpoint = request.getfixturevalue("s3_endpoint")
    settings = s3_settings(endpoint, new_bucket(endpoint))
    return bucket_workspaces(settings, tmp_path / "1", MAX), bucket_workspaces(settings, tmp_path / "2", MAX)


async def test_host_sends_only_what_it_has_changed(bucket: tuple[BucketWorkspaces, BucketWorkspaces]) -> None:
    one, two = bucket
    await put(one, "a", b"1")
    await put(one, "b", b"1")
    async with two.opened(AGENT) as folder:
        await put(one, "a", b"2 of one")
        (folder / "b").write_bytes(b"2 of two")
        await two.save(AGENT)
    assert await tree(one) == {"a": b"2 of one", "b": b"2 of two"}


async def test_what_was_not_saved_is_given_up_by_the_next_who_opens(
    bucket: tuple[BucketWorkspaces, BucketWorkspaces],
) -> None:
    one, _ = bucket
    await put(one, "a", b"saved")
    await put(one, "a", b"not saved", save=False)
    await put(one, "b", b"not saved", save=False)
    assert await tree(one) == {"a": b"saved"}


async def test_another_run_on_this_host_does_not_take_away_what_is_being_written(
    bucket: tuple[BucketWorkspaces, BucketWorkspaces],
) -> None:
    one, two = bucket
    async with one.opened(AGENT) as folder:
        (folder / "a").write_bytes(b"in the middle of a call")
        await put(two, "b", b"of another host")
        assert set(await tree(one)) == {"a", "b"}
        await one.save(AGENT)
    assert set(await tree(two)) == {"a", "b"}


async def test_names_that_lead_out_and_links_are_left_alone(tmp_path: Path) -> None:
    store = MemoryStore()
    for name in ("a/b", f"{'d/' * 40}deep", "x" * 300, "..%2Fup"):
        await obstore.put_async(store, f"{AGENT}/{name}", b"x")
    one = on(store, tmp_path, "one")
    assert set(await tree(one)) == {"a/b", "..%2Fup"}
    (tmp_path / "secret").write_text("hidden")
    async with one.opened(AGENT) as folder:
        (folder / "link").symlink_to(tmp_path / "secret")
        os.mkfifo(folder / "pipe")
        await one.save(AGENT)
    stored = [item["path"] for item in obstore.list(store).collect()]
    assert not [path for path in stored if path.endswith(("link", "pipe"))]


async def test_too_many_files_are_refused_and_named(tmp_path: Path) -> None:
    one = on(MemoryStore(), tmp_path, "one")
    async with one.opened(AGENT) as folder:
        for number in range(LIMITS.max_files + 1):
            (folder / str(number)).write_text("x")
        with pytest.raises(WorkspaceTooLargeError, match="51 files"):
            await one.save(AGENT)


async def test_bucket_that_is_away_is_named_without_its_secret(tmp_path: Path) -> None:
    settings = s3_settings("http://127.0.0.1:9", "nowhere")
    one = bucket_workspaces(settings, tmp_path, MAX)
    with pytest.raises(WorkspaceUnavailableError) as caught:
        async with asyncio.timeout(60), one.opened(AGENT):
            raise AssertionError("it cannot be opened")
    error: AtomError = caught.value
    assert "s3://nowhere/atom" in error.message
    assert error.retryable
    for text in (error.message, error.hint, repr(settings), repr(one)):
        assert "hidden-secret" not in text


async def test_bucket_that_fails_in_the_middle_is_an_outage_and_the_next_save_sends_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (on(bucket, tmp_path, name) for bucket in [MemoryStore()] for name in ("one", "two"))
    sent = obstore.put_async

    async def failing(store: ObjectStore, path: str, file: object) -> object:
        if path.endswith("b"):
            raise BaseError("the connection was reset")
        return await sent(store, path, file)  # type: ignore[arg-type]

    async with one.opened(AGENT) as folder:
        for name in ("a", "b", "c"):
            (folder / name).write_text(name)
        with monkeypatch.context() as patch:
            patch.setattr(obstore, "put_async", failing)
            with pytest.raises(WorkspaceUnavailableError):
                await one.save(AGENT)
        await one.save(AGENT)
    assert set(await tree(two)) == {"a", "b", "c"}


def test_copies_of_processes_that_are_gone_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f"{ended.pid}-old").mkdir()
    (tmp_path / "kept").mkdir()
    mine = own_folder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"kept", mine.name}
    shutil.rmtree(mine)
