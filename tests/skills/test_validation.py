"""Findings about the files of a bundle, each at its place."""

import pytest

from atom.skills.adapters.grammars import TreeSitter
from atom.skills.bundle.reading import read_bytes
from atom.skills.findings import Severity
from atom.skills.ports import Language
from atom.skills.validation.service import Report, Validator
from tests.skills.packing import MANIFEST, zip_of, zipped


def validated(files: dict[str, bytes | str], body: str = "") -> Report:
    data = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    return Validator(TreeSitter()).validate(
        read_bytes(zipped({"SKILL.md": MANIFEST + body.encode(), **data}), "good.zip")
    )


def said(report: Report) -> list[str]:
    """As `rule file:line:column`."""
    return [f"{one.rule.value} {one.place}" for one in report.findings]


SCRIPTS: dict[str, tuple[str, bytes | str, list[str]]] = {
    "missing parenthesis": ("a.py", "def f(:\n    pass\n", ["script-python a.py:1:7"]),
    "unexpected indent": ("a.py", "x = 1\n  y = 2\n", ["script-python a.py:2:3"]),
    "expected block": ("a.py", "if x:\ny = 2\n", ["script-python a.py:2:1"]),
    "tabs and spaces": ("a.py", "if x:\n        y = 1\n\tz = 2\n", ["script-python a.py:3:2"]),
    "unclosed string": ("a.py", "x = 1\ny = 'abc\n", ["script-python a.py:2:5"]),
    "behind accents": ("a.py", "\u00e9\u00e9 = 'ab\n", ["script-python a.py:1:6"]),
    "Python 2": ("a.py", "print 'a'\n", ["script-python a.py:1:1"]),
    "NUL": ("a.py", "x = 1\ny\0 = 2\n", ["hidden-control a.py:2:2", "script-python a.py:2:2"]),
    "no suffix": ("run", "#!/usr/bin/env python3\nx = (\n", ["script-python run:2:5"]),
    "good Python": ("a.py", "#!/usr/bin/env python3\n# coding: utf-8\nasync def f(): await x\n", []),
    "match": ("a.py", "match x:\n    case 1: pass\n", []),
    "invalid escape": ("a.py", "x = '\\d'\n", []),
    "byte order mark": ("a.py", b"\xef\xbb\xbfx = 1\n", []),
    "Latin 1": ("a.py", b"# coding: latin-1\nx = '\xe9'\n", ["script-encoding a.py"]),
    "declared as Latin 1": ("a.py", "#!/usr/bin/python\n# -*- coding: latin-1 -*-\n", ["script-encoding a.py:2:15"]),
    "coding on line 3": ("a.py", "#\n#\n# coding: latin-1\n", []),
    "missing fi": ("a.sh", "echo a\nif [ x ]; then\n  echo b\n", ["script-shell a.sh:4:1"]),
    "good shell": ("a.sh", 'set -euo pipefail\nfor x in "$@"; do echo "${x%.md}"; done\ncat <<EOF\nx\nEOF\n', []),
    "shell without suffix": ("run", "#!/bin/sh\necho $(\n", ["script-shell run:2:6"]),
    "missing value": ("a.js", "let \u00e9 = ;\n", ["script-javascript a.js:1:7"]),
    "missing brace": ("a.mjs", "if (x) {\n  f()\n", ["script-javascript a.mjs:2:6"]),
    "good JavaScript": ("a.js", "#!/usr/bin/env node\nimport a from 'a'\nexport const b = await a?.()\n", []),
    "TypeScript": ("a.ts", "let x: number = ;", []),
    "another interpreter": ("run", "#!/usr/bin/perl\nif (\n", []),
    "no script": ("data", "def f(:\n", []),
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_read_and_problems_have_their_place(name: str) -> None:
    path, text, expected = SCRIPTS[name]
    assert said(validated({path: text})) == expected


def test_a_problem_of_shell_is_a_warning() -> None:
    """The grammar is not that of bash: some scripts that run are not in it."""
    report = validated({"a.sh": "if x; then\n"})
    assert [one.severity for one in report.findings] == [Severity.WARNING]
    assert report.valid


def test_of_many_scripts_only_so_much_is_read() -> None:
    """A hostile bundle has 20 MB of scripts, and each takes seconds."""
    files = {"SKILL.md": MANIFEST, **{f"{number:02}.py": b"x = 1\n" * 80_000 for number in range(10)}}
    report = Validator(TreeSitter()).validate(read_bytes(zipped(files, method=0), "good.zip"))
    assert said(report) == ["script-large 08.py", "script-large 09.py"]


def test_no_more_problems_of_a_script_than_help() -> None:
    assert len(TreeSitter().problems(Language.JAVASCRIPT, "let = ;\n" * 100)) <= 5


REFERENCES = {
    "link": ("See [a](references/a.md).", ["reference-missing SKILL.md:9:9"]),
    "picture": ("![a](assets/a.png)", ["reference-missing SKILL.md:9:6"]),
    "definition": ("[a]: references/a.md", ["reference-missing SKILL.md:9:6"]),
    "path in code": ("Run `python scripts/a.py --x`.", ["reference-missing SKILL.md:9:13"]),
    "path in a block": ("```bash\n./scripts/a.sh\n```", ["reference-missing SKILL.md:10:3"]),
    "with a base": ("{baseDir}/scripts/a.py", ["reference-missing SKILL.md:9:11"]),
    "twice": ("scripts/a.py and scripts/a.py", ["reference-missing SKILL.md:9:1"]),
    "escaped": ("[a](a%20b.md)", ["reference-missing SKILL.md:9:5"]),
    "outside": ("[a](../other/SKILL.md)", ["reference-outside SKILL.md:9:5"]),
    "absolute": ("[a](/etc/a.conf)", ["reference-outside SKILL.md:9:5"]),
    "there": ("[a](references/here.md#part) `scripts/here.py`, scripts/ and [b](./references/)", []),
    "address": ("[a](https://example.com/a.md) [b](mailto:a@b.md) [c](#here)", []),
    "link in code": ("```md\n[a](a.md)\n```", []),
    "stands for something": ("scripts/<name>.py scripts/$X.py scripts/*.sh [a](path/to/a.md) [b](your-file.md)", []),
    "path of another place": ("~/x/scripts/a.py /opt/scripts/a.py my-scripts/a.py $HOME/scripts/a.py", []),
    "words": ("scripts/tools and assets/ and [x](word)", []),
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
def test_references_to_files_that_are_not_there_are_found(name: str) -> None:
    body, expected = REFERENCES[name]
    assert said(validated({"references/here.md": "x", "scripts/here.py": "x"}, body)) == expected


def test_references_of_other_texts_count_from_their_folder() -> None:
    files: dict[str, bytes | str] = {"references/a.md": "[b](b.md) [c](../c.md) [d](references/d.md) [e](e.md)",
                                     "references/b.md": "", "c.md": "", "references/d.md": ""}  # fmt: skip
    assert said(validated(files)) == ["reference-missing references/a.md:1:49"]


def test_a_single_manifest_says_that_references_were_not_looked_for() -> None:
    data = MANIFEST + b"[a](references/a.md)"
    report = Validator(TreeSitter()).validate(read_bytes(data, "SKILL.md", folder="good"))
    assert said(report) == ["reference-unchecked SKILL.md"]
    assert report.valid


SEEN = [
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f\u200d\U0001f525",
    "\U0001f426\u200d\u2b1b", "1\ufe0f\u20e3",
    "\U0001f469\U0001f3fd\u200d\U0001f4bb", "\U0001f1e9\U0001f1ea", "\u0645\u0631\u062d\u0628\u0627",
    "caf\u00e9 cafe\u0301",
]  # fmt: skip


@pytest.mark.parametrize("text", SEEN)
def test_what_is_seen_is_not_hidden(text: str) -> None:
    assert said(validated({}, text)) == []


@pytest.mark.parametrize(
    ("text", "column"),
    [("a\u200bb", 2), ("\U0001f600\u200da", 2), ("a\ufe0f\ufe0f", 3), ("a\u00adb", 2), ("\U0001f3f4\U000e0067", 2)],
)
def test_what_hides_is_found_at_its_column(text: str, column: int) -> None:
    assert said(validated({}, text)) == [f"hidden-invisible SKILL.md:9:{column}"]


def test_binary_files_are_not_text() -> None:
    assert said(validated({"assets/a.png": b"\x89PNG\r\n\x1a\n\0\0\0"})) == []


def test_a_manifest_of_another_name_is_reported() -> None:
    for name, severity in (("skill.md", Severity.WARNING), ("Skill.md", Severity.ERROR)):
        report = Validator(TreeSitter()).validate(read_bytes(zipped({name: MANIFEST}), "good.zip"))
        assert [(one.rule.value, one.severity) for one in report.findings] == [("manifest-name", severity)]


def test_what_was_left_out_is_told() -> None:
    report = Validator(TreeSitter()).validate(read_bytes(zip_of((".git/config", b"")), "good.zip"))
    assert said(report) == ["files-left-out SKILL.md"]


def test_valid_and_approvable_differ_by_what_is_mended() -> None:
    mended = validated({"SKILL.md": MANIFEST.replace(b"Does good.", b"Does: good.")})
    assert (mended.valid, mended.approvable) == (False, True)
    hidden = validated({}, "\u202e")
    assert (hidden.valid, hidden.approvable) == (False, False)
