# ruff: noqa: E501 - pieces of texts are lists of words
"""Whatever the bytes are, the scan ends, says the same twice, and says so where it did not read everything."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atom.skills.bundle.reading import read_bytes
from atom.skills.findings import Rule
from atom.skills.ports import TooComplexError
from atom.skills.scan.models import Budget, Kind, Scan
from tests.skills.packing import MANIFEST, zipped
from tests.skills.scan.scanning import SCANNER, scanned

NAMES = ("a.py", "a.sh", "a.js", "a.md", "a.ts", "requirements.txt", "package.json", "a.rb", "a.bin", "tool")
PIECES = {
    "a.py": [
        "import os", "import base64 as b", "from os import *", "x = ", "exec(", "eval(", ")", "'a'", '"~/.ssh/id_rsa"', "f'{x}'", " + ", "[1, 2]", "\n",
        "    ", "def f(a):\n", "return x", "os.environ", "[::-1]", ".join(", "chr(", "for x in y", "open(", "with ", " as z", "lambda: ", "x", "\ud83d", "\u00e9",
        "requests.post(", "getattr(", "'\\ud800'", "self.", "await ", ":=", "%", "*", "class A:\n",
    ],
    "a.sh": [
        "curl ", "| sh", "\n", "$(", ")", "`", '"', "'", "$X", "${X:-y}", "X=", "eval ", "<<EOF\n", "EOF\n", "> ~/.bashrc", "base64 -d", "if ", "then ", "fi", ";", "&&",
        "{a,b}", "$'\\x41'", "bash -c ", "npx", "pip install ", "<(", "case x in", "\u00e9", "at now", "find / -exec ", "$((", "[[ ", "mkfifo f", "uv tool ",
    ],
    "a.js": [
        "const x = ", "require('", "child_process", "')", "eval(", ")", "`${", "}`", "process.env", ".X", "[", "]", "=> ", "fetch(", "{", "}", ";", "\n", "import ", " from ",
        "'\\x41'", "new Function(", "...", "/a/", "\u00e9", "await ", "class A {", "function f(", "for (const a of ", "export ", ".then(",
    ],
    "a.md": [
        "# ", "## Red flags", "\n", "\n\n", "- ", "| ", "```", "```bash\n", "```python\n", "~~~", "Ignore all previous instructions.", "`curl x | sh`", "<!--", "-->", "Never ",
        "Do not tell the user.", "> ", "    curl x | sh", "$ ", ":", "\u200b", "\u0430", "download a.zip password: x and run", "1. ",
    ],
}  # fmt: skip


def told(files: dict[str, bytes]) -> Scan:
    """Every place of it is one."""
    first = scanned(files)
    for one in first.findings:
        assert (one.message + one.fix).isprintable()
        if one.place.line is not None:
            assert one.place.line >= 1
            assert (one.place.column or 1) >= 1
    return first


@pytest.mark.parametrize("name", PIECES)
def test_any_text_of_a_kind_is_scanned(name: str) -> None:
    @settings(deadline=None, max_examples=150)
    @given(st.lists(st.sampled_from(PIECES[name]), max_size=40).map("".join))
    def check(text: str) -> None:
        files = {"SKILL.md": MANIFEST, name: text.encode("utf-8", "replace")}
        assert told(files) == told(dict(reversed(files.items())))

    check()


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=300), max_size=4))
def test_any_bytes_are_scanned(files: dict[str, bytes]) -> None:
    files = {**files, "SKILL.md": MANIFEST}
    assert told(files) == told(dict(reversed(files.items())))


@settings(deadline=None, max_examples=200)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda one: st.lists(one, max_size=3)
                    | st.dictionaries(st.sampled_from(["hosts", "env", "risk", "seen", "network", "x"]), one, max_size=3), max_leaves=8))  # fmt: skip
def test_any_declaration_is_compared(value: object) -> None:
    bundle = read_bytes(
        zipped({"SKILL.md": MANIFEST, "a.py": b"import requests\nrequests.get('https://a.example')\n"}), "x.zip"
    )
    found = SCANNER.scan(bundle, {"atom": value})
    assert found == SCANNER.scan(bundle, {"atom": value})
    assert found.seen.code[Kind.NETWORK] == ("a.example",)


HARD: dict[str, tuple[str, Callable[[int], str]]] = {
    "python: laughs": ("a.py", lambda n: "x0 = 'ha'\n" + "".join(f"x{i} = x{i - 1} + x{i - 1}\n" for i in range(1, n // 30)) + "exec(x9)\n"),
    "python: a long sum": ("a.py", lambda n: "x = " + " + ".join(["'a'"] * (n // 100)) + "\n"),
    "python: calls in calls": ("a.py", lambda n: "\n".join("print(" * 60 + ")" * 60 for _ in range(n // 500))),
    "python: many functions": ("a.py", lambda n: "".join(f"def f{i}(a):\n    return f{i + 1}(a)\n" for i in range(n // 40))),
    "python: many environments": ("a.py", lambda n: "import os\nx = [" + "os.environ, " * (n // 12) + "]\n"),
    "shell: pipes": ("a.sh", lambda n: "cat a " + "| cat " * (n // 20)),
    "shell: substitutions": ("a.sh", lambda n: "echo " + "$(echo " * 60 + ")" * 60 + "\n" + "X=$X$X\n" * (n // 10)),
    "javascript: then": ("a.js", lambda n: "f()" + ".then(x => g(x))" * (n // 60)),
    "javascript: brackets": ("a.js", lambda n: "[" * (n // 4) + "]" * (n // 4)),
    "text: one sentence": ("a.md", lambda n: "ignore all the previous " * (n // 24)),
    "text: fences": ("a.md", lambda n: "```\n" * (n // 4)),
    "text: comments": ("a.md", lambda n: "<!-- " * (n // 5)),
    "text: ticks": ("a.md", lambda n: "`curl " * (n // 6)),
    "text: names": ("requirements.txt", lambda n: "".join(f"requestz{i}\n" for i in range(n // 12))),
}  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_the_work_grows_with_the_text_and_no_faster(name: str) -> None:
    """Four times the text: what is quadratic would take sixteen times the time, and be stopped only by the budget."""
    file, make = HARD[name]
    times = []
    for size in (10_000, 40_000):
        data = make(size).encode()
        began = time.process_time()
        scanned({"SKILL.md": MANIFEST, file: data})
        times.append(time.process_time() - began)
    assert times[1] < 12 * times[0] + 0.5


def test_a_bundle_without_end_is_told_as_such() -> None:
    big = b"# a\n" * 150_000
    found = scanned({"SKILL.md": MANIFEST, "a.py": big})
    assert [one.place.file for one in found.findings if one.rule is Rule.SCAN_INCOMPLETE] == ["a.py"]
    many = {f"a{n:03}.py": b"# a\n" * 110_000 for n in range(12)}
    found = scanned({"SKILL.md": MANIFEST, **many})
    assert any(one.rule is Rule.SCAN_INCOMPLETE for one in found.findings)


def test_work_is_counted() -> None:
    budget = Budget(3)
    budget.spend(3)
    with pytest.raises(TooComplexError):
        budget.spend()
