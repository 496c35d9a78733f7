"""One skill out of the archive of a repository."""

import io
import random
import tarfile
import zipfile
from collections.abc import Callable, Mapping

import pytest

from atom.skills.bundle.limits import Limits
from atom.skills.bundle.repository import SeveralSkillsError, read_repository
from atom.skills.errors import ArchiveRefusedError, BundleError, ManifestUnreadableError
from tests.skills.packing import MANIFEST, SQUEEZED, entry, unix

CHANCE = random.Random(1)  # what is packed too tightly is refused for that
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TREE = {
    "README.md": b"# Repository\n",
    "skills/pdf/SKILL.md": MANIFEST,
    "skills/pdf/scripts/run.py": b"print(1)\n",
    "skills/xls/SKILL.md": MANIFEST + b"\nMore.\n",
    "node_modules/x.js": b"//\n",
}
Pack = Callable[..., bytes]


def zip_of_repository(tree: Mapping[str, bytes], *, link: str = "") -> bytes:
    """As `git archive` packs it: one folder around all, the commit as comment."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = COMMIT.encode()
        archive.writestr("repo-main/", b"")
        for name, data in tree.items():
            archive.writestr(f"repo-main/{name}", data)
        if link:
            archive.writestr(unix(f"repo-main/{link}", 0o120777), b"/etc/passwd")
    return out.getvalue()


def tar_of_repository(tree: Mapping[str, bytes], *, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": COMMIT}) as archive:
        archive.addfile(entry("repo-main", tarfile.DIRTYPE))
        for name, data in tree.items():
            archive.addfile(entry(f"repo-main/{name}", size=len(data)), io.BytesIO(data))
        if link:
            archive.addfile(entry(f"repo-main/{link}", tarfile.SYMTYPE, link="/etc/passwd"))
    return SQUEEZED["gz"](out.getvalue())


@pytest.fixture(params=[zip_of_repository, tar_of_repository], ids=["zip", "tar.gz"])
def pack(request: pytest.FixtureRequest) -> Pack:
    made: Pack = request.param
    return made


def test_the_folder_that_is_asked_for(pack: Pack) -> None:
    found = read_repository(pack(TREE), "main.zip", "skills/pdf")
    assert list(found.bundle.files) == ["SKILL.md", "scripts/run.py"]
    assert (found.bundle.folder, found.folder, found.commit) == ("pdf", "skills/pdf", COMMIT)


def test_a_skill_has_the_same_digest_wherever_it_lay(pack: Pack) -> None:
    alone = read_repository(pack({"SKILL.md": MANIFEST, "scripts/run.py": b"print(1)\n"}), "x.zip")
    assert alone.bundle.digest == read_repository(pack(TREE), "x.zip", "skills/pdf/").bundle.digest
    assert (alone.folder, alone.bundle.folder) == ("", "repo-main")


def test_one_skill_in_a_folder_is_found(pack: Pack) -> None:
    found = read_repository(pack({name: data for name, data in TREE.items() if "xls" not in name}), "x.zip")
    assert found.folder == "skills/pdf"


def test_several_skills_are_named(pack: Pack) -> None:
    for folder in ("", "skills"):
        with pytest.raises(SeveralSkillsError) as caught:
            read_repository(pack(TREE), "x.zip", folder)
        assert caught.value.folders == ["skills/pdf", "skills/xls"]


def test_the_skill_at_the_top_is_the_one_that_is_meant(pack: Pack) -> None:
    found = read_repository(pack({**TREE, "SKILL.md": MANIFEST}), "x.zip")
    assert found.folder == ""
    assert "skills/pdf/SKILL.md" in found.bundle.files


@pytest.mark.parametrize("folder", ["skills/none", "skil", "skills/pd", "skills/pdf/scripts"])
def test_a_folder_without_a_skill_is_told_with_those_that_have_one(pack: Pack, folder: str) -> None:
    with pytest.raises(ManifestUnreadableError, match="skills/pdf, skills/xls"):
        read_repository(pack(TREE), "x.zip", folder)


@pytest.mark.parametrize("folder", ["../x", "/etc", "a\\b", "skills/../.."])
def test_a_folder_outside_is_refused(pack: Pack, folder: str) -> None:
    with pytest.raises(BundleError):
        read_repository(pack(TREE), "x.zip", folder)


def test_only_what_is_in_the_folder_counts(pack: Pack) -> None:
    """A link elsewhere, many files elsewhere: none of it is read."""
    big = {**TREE, **{f"other/{number}": CHANCE.randbytes(99) for number in range(600)}}
    assert read_repository(pack(big, link="LINK"), "x.zip", "skills/pdf").folder == "skills/pdf"
    with pytest.raises(ArchiveRefusedError):
        read_repository(pack(TREE, link="skills/pdf/LINK"), "x.zip", "skills/pdf")
    with pytest.raises(BundleError):
        read_repository(pack({**TREE, "skills/pdf/../../evil": b""}), "x.zip", "skills/pdf")


def test_sizes_are_held(pack: Pack) -> None:
    many = {f"skills/pdf/{number}": CHANCE.randbytes(99) for number in range(600)}
    with pytest.raises(BundleError) as caught:
        read_repository(pack({**TREE, **many}), "x.zip", "skills/pdf")
    assert caught.value.problem == "too_many_files"
    with pytest.raises(BundleError):
        read_repository(pack(TREE), "x.zip", "skills/pdf", Limits(packed_bytes=100))


@pytest.mark.parametrize(
    "data", [b"<!doctype html><title>Sign in</title>", b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"\0" * 600]
)
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        read_repository(data, "/o/r/archive/main.zip")


def test_a_skill_file_alone_is_one() -> None:
    assert list(read_repository(MANIFEST, "/raw/SKILL.md").bundle.files) == ["SKILL.md"]
