"""What a bundle is, however it comes."""

import hashlib
import stat
import tarfile
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from atom.skills.bundle.limits import Limits
from atom.skills.bundle.models import Bundle, Form
from atom.skills.bundle.reading import read_bytes, read_path
from atom.skills.errors import BundleError
from tests.skills.packing import (
    FILES,
    MANIFEST,
    SQUEEZED,
    entry,
    padded,
    raw_tar,
    tar_of,
    tarred,
    unix,
    zip_of,
    zipped,
)
from tests.skills.packing import header as tar_header


def _written(folder: Path) -> Path:
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def _folder(place: Path) -> Bundle:
    return read_path(_written(place / "good"))


def _zip_file(place: Path) -> Bundle:
    (place / "good.zip").write_bytes(zipped())
    return read_path(place / "good.zip")


def _squeezed(form: str) -> Callable[[Path], Bundle]:
    return lambda _: read_bytes(SQUEEZED[form](tarred()), f"x.tar.{form}")


FORMS: dict[str, Callable[[Path], Bundle]] = {
    "folder": _folder,
    "zip on disk": _zip_file,
    "zip": lambda _: read_bytes(zipped(), "x.zip"),
    "stored zip": lambda _: read_bytes(zipped(method=0), "x.zip"),
    "zip with another name": lambda _: read_bytes(zipped(), "x.skill"),
    "zip with a top folder": lambda _: read_bytes(zipped({f"good/{n}": d for n, d in FILES.items()}), "x.zip"),
    "tar": lambda _: read_bytes(tarred(), "x.tar"),
    "GNU tar": lambda _: read_bytes(tarred(form=tarfile.GNU_FORMAT), "x.tar"),
    "old tar": lambda _: read_bytes(tarred(form=tarfile.USTAR_FORMAT), "x.tar"),
    "tar with ./": lambda _: read_bytes(tarred({f"./{n}": d for n, d in FILES.items()}), "x.tar"),
    "tar with a top folder": lambda _: read_bytes(tarred({f"good/{n}": d for n, d in FILES.items()}), "x.tar"),
    "tar in two streams": lambda _: read_bytes(
        SQUEEZED["zst"](tarred()[:700]) + SQUEEZED["zst"](tarred()[700:]), "x.tar.zst"
    ),
} | {f"tar.{form}": _squeezed(form) for form in SQUEEZED}


@pytest.mark.parametrize("form", FORMS)
def test_files_and_digest_are_the_same_from_everything(form: str, tmp_path: Path) -> None:
    bundle = FORMS[form](tmp_path)
    assert {path: member.data for path, member in bundle.files.items()} == FILES
    assert bundle.digest == read_bytes(zipped(), "x.zip").digest
    assert bundle.manifest == "SKILL.md"


def test_digest_is_what_it_says() -> None:
    """Spelled out, so that it never changes by accident: approvals will be bound to it."""
    bundle = read_bytes(zip_of((unix("run", stat.S_IFREG | 0o755), b"#!/bin/sh\n")), "x.zip")
    said = b"atom skill bundle 1\n8:SKILL.md 0 %d:%b3:run 1 10:#!/bin/sh\n" % (len(MANIFEST), MANIFEST)
    assert bundle.digest == f"sha256:{hashlib.sha256(said).hexdigest()}"


@pytest.mark.parametrize(
    "files",
    [
        {**FILES, "scripts/run.py": b"print('evil')\n"},
        {**FILES, "scripts/ran.py": b""},
        {"SKILL.md": MANIFEST, "scripts/run.py2": FILES["scripts/run.py"][1:], "references/a.md": b"# A\n"},
    ],
)
def test_digest_changes_with_every_byte_and_name(files: dict[str, bytes]) -> None:
    assert read_bytes(zipped(files), "x.zip").digest != read_bytes(zipped(), "x.zip").digest


def test_only_the_executable_bit_of_a_mode_counts() -> None:
    def digest(mode: int) -> str:
        return read_bytes(tar_of((entry("run", mode=mode), b"")), "x.tar").digest

    assert digest(0o644) == digest(0o600) == digest(0o4644)
    assert digest(0o755) == digest(0o700)
    assert digest(0o755) != digest(0o644)


def test_a_bundle_never_changes() -> None:
    bundle = read_bytes(zipped(), "x.zip")
    with pytest.raises(TypeError):
        bundle.files["SKILL.md"] = bundle.files["scripts/run.py"]  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        bundle.folder = "other"  # type: ignore[misc]


def test_the_top_folder_is_taken_off_and_remembered() -> None:
    bundle = read_bytes(zipped({f"skill-1.2/{name}": data for name, data in FILES.items()}), "x.zip")
    assert (bundle.folder, bundle.form) == ("skill-1.2", Form.ZIP)


def test_only_one_folder_is_taken_off() -> None:
    files = {"SKILL.md": MANIFEST, "SKILL.md.d/x": b""}
    assert list(read_bytes(zipped(files), "x.zip").files) == list(files)


def test_a_single_manifest_is_a_bundle(tmp_path: Path) -> None:
    _written(tmp_path / "good")
    bundle = read_path(tmp_path / "good" / "SKILL.md")
    assert (list(bundle.files), bundle.form, bundle.folder) == (["SKILL.md"], Form.FILE, "good")


def test_a_folder_is_not_read_through_a_link_inside_but_may_be_named_by_one(tmp_path: Path) -> None:
    _written(tmp_path / "good")
    (tmp_path / "also").symlink_to(tmp_path / "good")
    assert len(read_path(tmp_path / "also").files) == 3


def test_exactly_as_many_files_as_allowed() -> None:
    members = [(f"assets/{number}", b"") for number in range(499)]
    assert len(read_bytes(zip_of(*members), "x.zip").files) == 500


@pytest.mark.parametrize("size", [1000, 1001])
def test_bytes_are_counted_over_all_files(size: int) -> None:
    limits = Limits(unpacked_bytes=len(MANIFEST) + 1000)
    data = zip_of(("a", bytes(500)), ("b", bytes(size - 500)))
    if size == 1000:
        assert read_bytes(data, "x.zip", limits=limits).size == limits.unpacked_bytes
        return
    with pytest.raises(BundleError) as caught:
        read_bytes(data, "x.zip", limits=limits)
    assert (caught.value.problem, caught.value.details["member"]) == ("too_many_bytes", "b")


def test_a_small_tar_may_be_packed_tightly() -> None:
    """An empty skill in a tar of 10 kB of padding packs to a hundredth, and is no bomb."""
    data = SQUEEZED["xz"](tar_of() + bytes(40_000))
    assert len(data) * 100 < len(tar_of()) + 40_000
    assert read_bytes(data, "x.tar.xz").files


def test_names_in_utf8_that_are_not_marked_as_such_are_read() -> None:
    data = zip_of(("caf\u00e9.md", b"x"))
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = data.rindex(signature) + offset
        data = data[:at] + b"\0\0" + data[at + 2 :]
    assert "caf\u00e9.md" in read_bytes(data, "x.zip").files


def test_what_git_archive_writes_is_read() -> None:
    comment = b"52 comment=0123456789012345678901234567890123456789\n"
    data = raw_tar(tar_header(b"pax_global_header", b"g", b"%011o\0" % len(comment)), padded(comment))
    assert read_bytes(data, "x.tar").files


@pytest.mark.parametrize("length", [99, 100, 101, 160, 200])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_a_tar_are_whole(length: int, form: int) -> None:
    name = "a" * length
    assert name in read_bytes(tarred({"SKILL.md": MANIFEST, name: b"x"}, form=form), "x.tar").files


def test_what_is_not_there_or_may_not_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read") as caught:
        read_path(tmp_path / "none")
    assert caught.value.problem == "unreadable"


def test_a_manifest_with_another_case_is_found() -> None:
    assert read_bytes(zipped({"skill.md": MANIFEST}), "x.zip").manifest == "skill.md"
