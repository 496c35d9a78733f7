"""One contract for every cold store, and what is said of those that do not answer as they should."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from atom.kit.ids import new_id
from atom.memory.adapters.cold_objects import ColdObjects, open_cold_store
from atom.memory.bodies import pack, unpack
from atom.memory.errors import BodyCorruptError, ColdObjectMissingError, ColdStoreUnavailableError
from atom.memory.ports import ColdStore
from atom.memory.sealing import seal, unseal
from atom.memory.testing import FaultyColdStore
from atom.settings import MemorySettings
from tests.support.s3_server import new_bucket

PATH = "2026-05/one.cold"


@pytest.fixture(params=["folder", "memory", "s3"])
def cold(request: pytest.FixtureRequest, home: Path) -> ColdStore:
    if request.param == "memory":
        return FaultyColdStore()
    if request.param == "folder":
        return open_cold_store(MemorySettings(), home)
    return open_cold_store(s3_settings(request.getfixturevalue("s3_endpoint")), home)


def s3_settings(endpoint: str, bucket: str | None = None) -> MemorySettings:
    return MemorySettings(
        cold_url=f"s3://{bucket or new_bucket(endpoint)}/atom",
        cold_endpoint=endpoint,
        cold_access_key_id="key-id",
        cold_secret_access_key=SecretStr("hidden-secret"),
    )


async def test_what_is_put_is_read_whole_and_in_parts_until_it_is_deleted(cold: ColdStore) -> None:
    content = os.urandom(7_000_000)  # goes to a bucket in parts
    await cold.put(PATH, content)
    assert await cold.get(PATH) == content
    assert await cold.read(PATH, 6_999_000, 500) == content[6_999_000:6_999_500]
    await cold.put(PATH, b"other")
    assert await cold.get(PATH) == b"other"
    await cold.delete(PATH)
    await cold.delete(PATH)
    with pytest.raises(ColdObjectMissingError, match=PATH):
        await cold.get(PATH)
    with pytest.raises(ColdObjectMissingError, match=PATH):
        await cold.read(PATH, 0, 1)


async def test_reading_makes_no_folder_and_writing_one_for_its_owner_alone(home: Path) -> None:
    cold = open_cold_store(MemorySettings(), home)
    with pytest.raises(ColdObjectMissingError, match=str(home)):
        await cold.get(PATH)
    await cold.delete(PATH)
    assert not (home / "cold").exists()
    await cold.put(PATH, b"x")
    assert (home / "cold").stat().st_mode & 0o777 == 0o700
    assert [file.name for file in (home / "cold").rglob("*") if file.is_file()] == ["one.cold"]


async def test_another_folder_is_chosen_by_its_address(home: Path) -> None:
    cold = open_cold_store(MemorySettings(cold_url=f"file://{home}/elsewhere"), home)
    await cold.put(PATH, b"x")
    assert (home / "elsewhere" / PATH).read_bytes() == b"x"


async def test_a_folder_that_cannot_be_is_told(home: Path) -> None:
    (home / "cold").write_text("in the way")
    with pytest.raises(ColdStoreUnavailableError, match=str(home)):
        await open_cold_store(MemorySettings(), home).put(PATH, b"x")


async def test_a_store_that_does_not_answer_is_given_up_and_told_without_its_secret(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = s3_settings(f"http://127.0.0.1:{silent.getsockname()[1]}", "bucket")
        cold = replace(open_cold_store(settings, home), seconds=0.3)
        with pytest.raises(ColdStoreUnavailableError, match="s3://bucket/atom") as told:
            await cold.put(PATH, b"x")
    assert "hidden-secret" not in f"{told.value}"
    assert "took too long" in told.value.message


async def test_a_refused_connection_is_told(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    cold: ColdObjects = replace(open_cold_store(s3_settings(f"http://127.0.0.1:{port}", "bucket"), home), seconds=5)
    with pytest.raises(ColdStoreUnavailableError, match="cold store"):
        await cold.read(PATH, 0, 5)


def test_only_its_own_key_opens_a_body_and_only_for_its_episode() -> None:
    id_, packed = new_id(), pack(["one turn", "another turn"])
    sealed = seal(id_, packed)
    said = {"sha256": packed.sha256, "unpacked": packed.unpacked}
    assert unpack(unseal(id_, sealed, sha256=packed.sha256, unpacked=packed.unpacked)) == ["one turn", "another turn"]
    assert packed.body not in sealed.stored
    for wrong, of in (
        (replace(sealed, key=bytes(32)), id_),
        (sealed, new_id()),
        (replace(sealed, stored=sealed.stored[:-1]), id_),
        (replace(sealed, stored=bytes([sealed.stored[0] ^ 1]) + sealed.stored[1:]), id_),
    ):
        with pytest.raises(BodyCorruptError):
            unseal(of, wrong, **said)  # type: ignore[arg-type]
