"""What a bundle declares, and what is never installed."""

import re
from types import MappingProxyType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atom.skills.bundle.models import Bundle, Form, Member
from atom.skills.layers.blocks import blocks
from atom.skills.layers.declared import declared, of_script
from atom.skills.layers.errors import DependencyRefusedError
from tests.skills.packing import MANIFEST

REFERENCE = r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$"  # of PEP 723, as it stands there
LINES = st.sampled_from(
    ["# /// script", "# /// other-1", "# ///", "# /// ", "# /// a b", "#", "# x = 1", "#x", "# ", "", "x = 1", " # ///",
     "# ///\t", "# /// script ", "# \u2028", "#\x0b", "# \x85y", "\x0c", "# /// \u0130"]
)  # fmt: skip


def by_the_pep(text: str) -> list[tuple[str, str]]:
    return [
        (
            match["type"],
            "".join(line[2:] if line.startswith("# ") else line[1:] for line in re.split(r"(?<=\n)", match["content"])),
        )
        for match in re.finditer(REFERENCE, text)
    ]


@given(st.lists(LINES, max_size=14).map("\n".join), st.sampled_from(["", "\n"]))
@example("# /// script\n# a\n# ///\n# b\n# ///", "")
@example("# /// script\n# ///", "\n")
@example("# /// script\n# ///\n# ///", "\n")
@example("# /// a\n# /// b\n# c\n# ///", "")
def test_blocks_are_those_of_the_pep(text: str, end: str) -> None:
    found = [(block.kind, f"{block.content}\n") for block in blocks(text + end)]
    assert found == by_the_pep(text + end)


def test_a_script_full_of_openings_is_read_in_one_pass() -> None:
    assert list(blocks("# /// script\n" * 200_000)) == []


def bundle(**files: bytes) -> Bundle:
    named = {
        path.replace("__", "/").replace("_txt", ".txt").replace("_py", ".py"): data for path, data in files.items()
    }
    members = {path: Member(data) for path, data in {"SKILL.md": MANIFEST, **named}.items()}
    return Bundle(MappingProxyType(dict(sorted(members.items()))), "SKILL.md", Form.FOLDER)


def script(*dependencies: str, more: str = "") -> bytes:
    listed = "".join(f'#   "{one}",\n' for one in dependencies)
    return f"# /// script\n# dependencies = [\n{listed}# ]\n{more}# ///\nprint(1)\n".encode()


def test_a_program_wants_what_its_skill_and_its_own_block_say() -> None:
    found = declared(
        bundle(
            requirements_txt=b"\xef\xbb\xbf# a comment\r\nOne_Two >=1, <2  # why\r\n\r\n"
            b"three[b,A]; python_version > '3'\r\n",
            scripts__requirements_txt=b"four==1.0 \\\n  --hash=sha256:" + b"A" * 64 + b"\n",
            scripts__a_py=script("five"),
            scripts__b_py=b"print(1)\n",
        )
    )
    assert [(one.text, one.file, one.line) for one in found.skill] == [
        ("one-two<2,>=1", "requirements.txt", 2),
        ('three[a,b]; python_version > "3"', "requirements.txt", 4),
        ("four==1.0", "scripts/requirements.txt", 1),
    ]
    assert found.skill[2].hashes == {"a" * 64}
    assert [one.name for one in found.of("scripts/a.py").requirements] == ["one-two", "three", "four", "five"]
    assert found.of("scripts/b.py").texts == found.of("nothing").texts
    assert [scripts for _, scripts in found.sets()] == [[], ["scripts/a.py"]]


def test_nothing_declared_wants_nothing() -> None:
    found = declared(bundle(scripts__a_py=b"print(1)\n", requirements_txt=b"\n# none\n"))
    assert found.sets() == []
    assert not found.of("scripts/a.py")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("-r other.txt", "option"), ("-e .", "option"), ("-i https://x.example", "option"),
        ("--no-index", "option"), ("--index=https://x.example", "option"), ("-f /tmp", "option"), ("--pre", "option"),
        ("-c constraints.txt", "option"), ("one --no-binary one", "option"),
        ("one\t--config-settings x=y", "option"), ("https://x.example/one.whl", "address"),
        ("git+https://x.example/one", "address"), ("git+ssh://git@x.example/one", "address"),
        ("one @ https://x.example/one.whl", "address"), ("one@git+https://x.example/one", "address"),
        ("one @ file:///etc", "address"), ("file:///etc", "address"), ("git@x.example:one", "address"),
        ("./one", "path"),
        ("../one", "path"), ("/one", "path"), ("~/one", "path"), (".", "path"), ("one-1.0-py3-none-any.whl", "path"),
        ("one-1.0.tar.gz", "path"), ("a/b", "path"), ("C:\\one", "path"), ("one[x] @ ./y", "address"),
        ("one==${VERSION}", "variable"), ("one==$(id)", "variable"), ("one==`id`", "variable"), ("one two", "invalid"),
        ("=1", "invalid"), ("one==1.*.*", "invalid"), ("x" * 501, "too_large"), ("\u0456ne", "invalid"),
    ],
)  # fmt: skip
def test_what_is_never_installed_is_refused_with_its_place(line: str, problem: str) -> None:
    with pytest.raises(DependencyRefusedError) as caught:
        declared(bundle(requirements_txt=f"good\n\n{line}\n".encode()))
    assert (caught.value.problem, caught.value.details["file"], caught.value.details["line"]) == (
        problem, "requirements.txt", 3
    )  # fmt: skip
    assert caught.value.hint


@pytest.mark.parametrize(
    ("data", "problem", "line"),
    [
        (script("good", "one @ https://x.example/one.whl"), "address", 4),
        (script("-r x"), "option", 3),
        (script(more='# [[tool.uv.index]]\n# url = "https://x.example"\n'), "option", 4),
        (script("one", more='# [tool.uv.sources]\n# one = { git = "https://x.example" }\n'), "option", 5),
        (script(r"one\n--index https://x.example"), "option", 1),
        (script(r"one\n-r x"), "invalid", 1),
        (b"# /// script\n# dependencies = 1\n# ///\n", "shape", 1),
        (b"# /// script\n# dependencies = [\n# ///\n", "toml", 1),
        (b"# /// script\n# dependencies = []\n# requires-python = 'x'\n# ///\n", "python", 3),
        (script("one") + b"\n" + script("two"), "doubled", 8),
        (script(*(f"p{number}" for number in range(65))), "too_many", 1),
        (b"# /// script\n# dependencies = [" + b"[" * 5000 + b"\n# ///\n", "toml", 1),
    ],
)
def test_a_block_is_refused_with_its_place(data: bytes, problem: str, line: int) -> None:
    with pytest.raises(DependencyRefusedError) as caught:
        of_script("scripts/a.py", data)
    assert (caught.value.problem, caught.value.details["line"]) == (problem, line)


def test_64_requirements_are_the_most_in_all() -> None:
    many = "".join(f"p{number}\n" for number in range(64)).encode()
    assert len(declared(bundle(requirements_txt=many)).skill) == 64
    with pytest.raises(DependencyRefusedError, match="More than 64"):
        declared(bundle(requirements_txt=many, scripts__a_py=script("one-more")))


def test_a_strangers_text_does_not_reach_the_terminal_as_it_is() -> None:
    with pytest.raises(DependencyRefusedError) as caught:
        declared(bundle(requirements_txt=b"\x1b[2Jone two\n"))
    assert "\x1b" not in str(caught.value)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    data = text.encode("utf-8", "replace")
    try:
        taken = [one.text for one in declared(bundle(requirements_txt=data, scripts__a_py=data)).skill]
    except DependencyRefusedError:
        taken = []
    assert all("\n" not in one and "://" not in one for one in taken)
