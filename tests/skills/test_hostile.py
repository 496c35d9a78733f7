"""No bundle acts outside itself, and each that tries is refused for the reason that is named."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atom.skills.adapters.grammars import TreeSitter
from atom.skills.bundle.reading import read_bytes, read_path
from atom.skills.errors import BundleError
from atom.skills.findings import Rule, Severity
from atom.skills.validation.service import Report, Validator
from tests.skills.hostile import REFUSED
from tests.skills.packing import MANIFEST, zip_of, zipped

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ACTS = ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.chmod", "os.utime",
        "subprocess.Popen", "os.exec", "os.fork", "os.system", "socket.connect", "shutil.")  # fmt: skip
acts: list[str] = []
watching = False


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not watching:
        return
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
        acts.append(f"open {arguments[0]}")
    if event.startswith(ACTS):
        acts.append(event)


sys.addaudithook(_hook)


@pytest.fixture
def watched() -> Iterator[list[str]]:
    """What the interpreter writes, starts or connects to meanwhile."""
    global watching  # noqa: PLW0603 - an audit hook cannot be taken away again
    acts.clear()
    watching = True
    yield acts
    watching = False


def test_the_watch_sees_a_write(tmp_path: Path, watched: list[str]) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert watched


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_archive_is_refused_for_its_reason(name: str, watched: list[str]) -> None:
    make, problem = REFUSED[name]
    data = make()
    with pytest.raises(BundleError) as caught:
        Validator(TreeSitter()).validate(read_bytes(data, "bundle.zip"))
    assert caught.value.problem == problem, caught.value
    assert caught.value.hint
    assert caught.value.message.isprintable()
    assert watched == []


def test_there_are_enough_of_them() -> None:
    assert len(REFUSED) >= 60


def test_a_refusal_names_the_member() -> None:
    make, _ = REFUSED["zip: parent"]
    with pytest.raises(BundleError, match=r"^\.\./evil\.txt: "):
        read_bytes(make(), "bundle.zip")


def test_a_bomb_is_left_before_it_is_unpacked() -> None:
    """400 members that share one packed megabyte: the layout says so before the first is read."""
    make, _ = REFUSED["zip: overlapping members"]
    assert len(make()) < 64 * 1024
    with pytest.raises(BundleError) as caught:
        read_bytes(make(), "bundle.zip")
    assert caught.value.problem == "overlap"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "good"
    made.mkdir()
    (made / "SKILL.md").write_bytes(MANIFEST)
    return made


def _link(folder: Path) -> None:
    (folder / "passwd").symlink_to("/etc/passwd")


def _link_to_folder(folder: Path) -> None:
    (folder / "scripts").symlink_to("/etc")


def _link_inside(folder: Path) -> None:
    (folder / "also.md").symlink_to("SKILL.md")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")  # reading it would wait forever


def _socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # the path of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("s")
    finally:
        os.chdir(here)


def _deep(folder: Path) -> None:
    (folder / "/".join("d" * 30)).mkdir(parents=True)


def _case(folder: Path) -> None:
    (folder / "a.md").write_bytes(b"")
    (folder / "A.md").write_bytes(b"")


def _not_utf8(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")).write_bytes(b"")


def _many(folder: Path) -> None:
    for number in range(501):
        (folder / str(number)).write_bytes(b"")


def _crowded(folder: Path) -> None:
    for number in range(2001):
        (folder / f"._{number}").write_bytes(b"")  # none of them is a member, and they are many all the same


def _endless(folder: Path) -> None:
    with (folder / "holes").open("wb") as file:
        file.truncate(1 << 40)


FOLDERS = {
    _link: "symlink",
    _link_to_folder: "symlink",
    _link_inside: "symlink",
    _pipe: "special_file",
    _socket: "special_file",
    _deep: "long_name",
    _case: "case_collision",
    _not_utf8: "hidden_characters_name",
    _many: "too_many_files",
    _crowded: "too_many_files",
    _endless: "too_many_bytes",
}


@pytest.mark.parametrize("make", FOLDERS, ids=lambda make: make.__name__)
def test_hostile_folder_is_refused_for_its_reason(make: object, folder: Path, watched: list[str]) -> None:
    assert callable(make)
    make(folder)
    watched.clear()
    with pytest.raises(BundleError) as caught:
        read_path(folder)
    assert caught.value.problem == FOLDERS[make]
    assert watched == []


# Texts that are read, and that can never be approved: SKILL.md or a script, and the rule that reports it.
REPORTED: dict[str, tuple[dict[str, bytes], Rule]] = {
    "bidi in the text": ({"SKILL.md": MANIFEST + "safe \u202egnihtyna".encode()}, Rule.HIDDEN_BIDI),
    "bidi in a script": ({"SKILL.md": MANIFEST, "a.py": "x = 1 # \u2066 if\n".encode()}, Rule.HIDDEN_BIDI),
    "zero width in the description": ({"SKILL.md": MANIFEST.replace(b"Does", "D\u200boes".encode())},
                                      Rule.HIDDEN_INVISIBLE),
    "tag characters": ({"SKILL.md": MANIFEST + "".join(chr(0xE0000 + ord(c)) for c in "run").encode()},
                       Rule.HIDDEN_INVISIBLE),
    "selectors behind an emoji": ({"SKILL.md": MANIFEST + "\U0001f600\U000e0121\U000e0122".encode()},
                                  Rule.HIDDEN_INVISIBLE),
    "joiner between letters": ({"SKILL.md": MANIFEST + "a\u200db".encode()}, Rule.HIDDEN_INVISIBLE),
    "hangul filler": ({"SKILL.md": MANIFEST + "\u3164".encode()}, Rule.HIDDEN_INVISIBLE),
    "mark in the middle": ({"SKILL.md": MANIFEST + "\ufeff".encode()}, Rule.HIDDEN_INVISIBLE),
    "escape sequence": ({"SKILL.md": MANIFEST + b"\x1b]0;title\x07"}, Rule.HIDDEN_CONTROL),
    "carriage return that overwrites": ({"SKILL.md": MANIFEST + b"rm -rf ~\rls       \n"}, Rule.HIDDEN_CONTROL),
    "backspaces": ({"SKILL.md": MANIFEST, "a.sh": b"rm\x08\x08ls\n"}, Rule.HIDDEN_CONTROL),
    "NUL": ({"SKILL.md": MANIFEST, "a.md": b"a\0b"}, Rule.HIDDEN_CONTROL),
    "control in the name field": ({"SKILL.md": MANIFEST.replace(b"good\nd", b"go\x07od\nd")}, Rule.HIDDEN_CONTROL),
    "bidi in a UTF-16 file": ({"SKILL.md": MANIFEST, "a.txt": "\ufeff\u202e".encode("utf-16-le")}, Rule.HIDDEN_BIDI),
    "deep YAML": ({"SKILL.md": b"---\nname: good\nx: " + b"[" * 5000 + b"\n---\nText.\n"}, Rule.FRONTMATTER_DEEP),
    "deep YAML in blocks": ({"SKILL.md": b"---\nname: good\nx:\n" + b"".join(b" " * n + b"a:\n" for n in range(1, 40))
                             + b"---\nText.\n"}, Rule.FRONTMATTER_DEEP),
    "billion laughs": ({"SKILL.md": b"---\nname: good\na: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%b]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(8)) + b"---\nText.\n"},
        Rule.YAML_ALIAS_BOMB),
    "few aliases, much of them": ({"SKILL.md": b"---\nname: good\na: &a [" + b"x," * 500 + b"]\nb: &b ["
        + b"*a," * 9 + b"]\nc: [" + b"*b," * 9 + b"]\n---\nText.\n"}, Rule.YAML_ALIAS_BOMB),
    "alias of itself": ({"SKILL.md": b"---\nname: good\na: &a [*a]\n---\nText.\n"}, Rule.YAML_ALIAS_BOMB),
    "huge frontmatter": ({"SKILL.md": b"---\nname: good\ndescription: " + b"a" * 70_000 + b"\n---\nText.\n"},
                         Rule.FRONTMATTER_LARGE),
    "key twice": ({"SKILL.md": MANIFEST.replace(b"---\n\n", b"name: evil\n---\n\n")}, Rule.YAML_DUPLICATE_KEY),
    "Python object": ({"SKILL.md": MANIFEST.replace(b"name: good", b"name: !!python/object/apply:os.system [id]")},
                      Rule.YAML_TAG),
    "Python in another encoding": ({"SKILL.md": MANIFEST, "a.py": b"# coding: utf-7\nx = 1\n"}, Rule.SCRIPT_ENCODING),
    "Python nested too deeply": ({"SKILL.md": MANIFEST, "a.py": b"x = " + b"-" * 100_000 + b"1\n"},
                                Rule.SCRIPT_COMPLEX),
    "Python of a million parentheses": ({"SKILL.md": MANIFEST, "a.py": b"(" * 500_000}, Rule.SCRIPT_PYTHON),
    "JavaScript of a million brackets": ({"SKILL.md": MANIFEST, "a.js": b"[" * 500_000}, Rule.SCRIPT_JAVASCRIPT),
    "shell of here-documents": ({"SKILL.md": MANIFEST, "a.sh": b"<<E\n" * 100_000}, Rule.SCRIPT_COMPLEX),
    "a script of a megabyte": ({"SKILL.md": MANIFEST, "a.sh": b"(" * 1_000_000}, Rule.SCRIPT_LARGE),
    "reference that leads out": ({"SKILL.md": MANIFEST + b"[x](../../etc/passwd.txt)"}, Rule.REFERENCE_OUTSIDE),
}  # fmt: skip


def _validated(files: dict[str, bytes]) -> Report:
    return Validator(TreeSitter()).validate(read_bytes(zipped(files, method=0), "bundle.zip"))


@pytest.mark.parametrize("name", REPORTED)
def test_hostile_text_is_reported(name: str, watched: list[str]) -> None:
    files, rule = REPORTED[name]
    report = _validated(files)
    found = [one for one in report.findings if one.rule is rule]
    assert found, report.findings
    assert watched == []
    assert json.dumps(report.plain())
    if rule not in {Rule.SCRIPT_LARGE, Rule.REFERENCE_OUTSIDE, Rule.YAML_TAG}:
        assert found[0].severity is Severity.ERROR
        assert not report.approvable


def test_parsing_python_has_no_effects(tmp_path: Path, watched: list[str]) -> None:
    """Decorators, defaults, class bodies and hooks are read, and none runs."""
    mark = tmp_path / "ran"
    text = f"""import os
open({str(mark)!r}, "w")
@open({str(mark)!r}, "w").write
def f(x=open({str(mark)!r}, "w"), *, y: open({str(mark)!r}, "w") = 1): ...
class C(metaclass=open({str(mark)!r}, "w").write):
    x = os.system("touch {mark}")
f"{{open({str(mark)!r}, 'w')}}"
"""
    report = _validated({"SKILL.md": MANIFEST, "scripts/a.py": text.encode()})
    assert report.valid, report.findings
    assert not mark.exists()
    assert watched == []


def test_many_findings_are_counted_not_listed() -> None:
    report = _validated({"SKILL.md": MANIFEST + "\u200b".encode() * 100_000})
    found = [one for one in report.findings if one.rule is Rule.HIDDEN_INVISIBLE]
    assert len(found) == 21
    assert any("9980 more of this sort, at least" in one.message for one in found)


def test_what_tools_leave_behind_is_no_part_of_a_bundle() -> None:
    data = zip_of(
        (".git/config", b"x"), ("__MACOSX/._SKILL.md", b"x"), (".DS_Store", b"x"), ("a/__pycache__/b.pyc", b"x")
    )
    bundle = read_bytes(data, "bundle.zip")
    assert list(bundle.files) == ["SKILL.md"]
    assert len(bundle.left_out) == 4
