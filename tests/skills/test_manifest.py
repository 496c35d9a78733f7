"""A SKILL.md is reported strictly, with line and column, and read as it was meant where that is certain."""

from collections.abc import Iterable

import pytest

from atom.skills.bundle.reading import read_bytes
from atom.skills.findings import Finding, Rule, Severity
from atom.skills.manifest.models import Reading
from atom.skills.manifest.reading import read

GOOD = "name: good\ndescription: Does good."


def reading(text: str | bytes, folder: str | None = "good") -> Reading:
    data = text if isinstance(text, bytes) else text.encode()
    return read(read_bytes(data, "SKILL.md", folder=folder))


def fenced(fields: str, body: str = "\n# Good\n\nDo good.\n") -> str:
    return f"---\n{fields}\n---\n{body}"


def said(findings: Iterable[Finding]) -> list[str]:
    """As `rule line:column`."""
    return [f"{one.rule.value} {one.place.line}:{one.place.column}" for one in findings]


def test_a_good_manifest_has_no_findings_and_everything_in_it() -> None:
    text = fenced(
        f"{GOOD}\nlicense: MIT\ncompatibility: Needs git.\nallowed-tools: Read Bash(git:*)\nmetadata:\n  author: ann\n"
        '  version: "1.0"'
    )
    found = reading(text)
    assert found.findings == ()
    manifest = found.manifest
    assert (manifest.name, manifest.description, manifest.license) == ("good", "Does good.", "MIT")
    assert (manifest.compatibility, manifest.allowed_tools) == ("Needs git.", "Read Bash(git:*)")
    assert manifest.metadata == {"author": "ann", "version": "1.0"}
    assert (manifest.body, manifest.body_line) == ("\n# Good\n\nDo good.\n", 11)
    assert {key: place.line for key, place in manifest.places.items()} == {
        "name": 2, "description": 3, "license": 4, "compatibility": 5, "allowed-tools": 6, "metadata": 7,
    }  # fmt: skip


# What people write: the text, all findings with line and column, and the name and description that are read.
MENDED: dict[str, tuple[str | bytes, list[str], str]] = {
    "colon": (fenced("name: good\ndescription: Use it: now"), ["yaml-quoting 3:14"], "Use it: now"),
    "colon at the end": (fenced("name: good\ndescription: Use it when:"), ["yaml-quoting 3:14"], "Use it when:"),
    "colon over two lines": (fenced("name: good\ndescription: Use it: now\n  and then"), ["yaml-quoting 3:14"],
                             "Use it: now and then"),
    "text behind a quote": (fenced('name: good\ndescription: "Use" it'), ["yaml-quoting 3:14"], '"Use" it'),
    "apostrophe in single quotes": (fenced("name: good\ndescription: 'It's good.'"),
                                    ["yaml-quoting 3:14"], "It's good."),
    "quotes in quotes": (fenced('name: good\ndescription: "Say "good"."'), ["yaml-quoting 3:14"], 'Say "good".'),
    "unknown escape": (fenced('name: good\ndescription: "C:\\good"'), ["yaml-quoting 3:14"], "C:\\good"),
    "brackets": (fenced("name: good\ndescription: [A] good one"), ["yaml-quoting 3:14"], "[A] good one"),
    "at sign": (fenced("name: good\ndescription: @good"), ["yaml-quoting 3:14"], "@good"),
    "backtick": (fenced("name: good\ndescription: `good`"), ["yaml-quoting 3:14"], "`good`"),
    "star": (fenced("name: good\ndescription: *good*"), ["yaml-quoting 3:14"], "*good*"),
    "percent": (fenced("name: good\ndescription: %good"), ["yaml-quoting 3:14"], "%good"),
    "two of them": (fenced("name: good\ndescription: a: b\nlicense: c: d"),
                    ["yaml-quoting 3:14", "yaml-quoting 4:10"], "a: b"),
    "colon in metadata": (fenced(f"{GOOD}\nmetadata:\n  note: a: b"), ["yaml-quoting 5:9"], "Does good."),
    "tab before": (fenced(f"{GOOD}\nmetadata:\n\tauthor: ann"), ["yaml-tab 5:1"], "Does good."),
    "tabs before, and a colon": (fenced(f"{GOOD}\nmetadata:\n\tauthor: a: b"), ["yaml-tab 5:1", "yaml-quoting 5:10"],
                                 "Does good."),
    "tab behind the colon": (fenced("name:\tgood\ndescription: Does."), ["yaml-tab 2:6"], "Does."),
    "no-break spaces before": (fenced(f"{GOOD}\nmetadata:\n\u00a0\u00a0author: ann"), ["yaml-tab 5:1"], "Does good."),
    "no space": (fenced("name:good\ndescription:Does."), ["yaml-space 2:6", "yaml-space 3:13"], "Does."),
    "block text that is not indented": (fenced("name: good\ndescription: |\nDoes good.\nAlways."), ["yaml-indent 4:1"],
                                        "Does good.\nAlways."),
    "flow style": (fenced(f"{GOOD}\nmetadata: {{author: ann}}"), ["yaml-flow 4:11"], "Does good."),
    "anchor": (fenced(f"{GOOD}\nlicense: &a MIT\ncompatibility: *a"), ["yaml-alias 4:10"], "Does good."),
    "tag": (fenced("name: good\ndescription: !!str Does."), ["yaml-tag 3:14"], "Does."),
    "uneven": (fenced(f"{GOOD}\nmetadata:\n  a:\n     b: c\n  d:\n    e: f"), ["yaml-uneven 8:5", "metadata-value 4:1"],
               "Does good."),
    "unknown field": (fenced(f"{GOOD}\nversion: '1'"), ["field-unknown 4:1"], "Does good."),
    "field with a capital": (fenced("Name: good\ndescription: Does."), ["field-case 2:1"], "Does."),
    "field with an underscore": (fenced(f"{GOOD}\nallowed_tools: Read"), ["field-case 4:1"], "Does good."),
    "tools as a list": (fenced(f"{GOOD}\nallowed-tools:\n  - Read\n  - Write"),
                        ["allowed-tools-format 4:1"], "Does good."),
    "tools with commas": (fenced(f"{GOOD}\nallowed-tools: Read, Bash(a, b)"),
                          ["allowed-tools-format 4:1"], "Does good."),
    "number": (fenced("name: good\ndescription: 1.0"), ["field-type 3:1"], "1.0"),
    "name with capitals": (fenced("name: Good\ndescription: Does."), ["name-format 2:1", "name-folder 2:1"], "Does."),
    "name with underscores": (fenced("name: _good_\ndescription: Does."),
                              ["name-format 2:1", "name-folder 2:1"], "Does."),
    "no name": (fenced("description: Does."), ["name-missing 1:1"], "Does."),
    "name of another folder": (fenced("name: good\ndescription: Does."), [], "Does."),
    "byte order mark": (b"\xef\xbb\xbf" + fenced(GOOD).encode(), ["text-bom 1:1"], "Does good."),
    "UTF-16": (b"\xff\xfe" + fenced(GOOD).encode("utf-16-le"), ["text-utf16 1:1"], "Does good."),
    "lines before": (f"\n\n{fenced(GOOD)}", ["frontmatter-leading 3:1"], "Does good."),
    "heading before": (f"# Good\n\n{fenced(GOOD)}", ["frontmatter-leading 3:1"], "Does good."),
    "four hyphens": (f"----\n{GOOD}\n----\nDo good.", ["frontmatter-fence 1:1", "frontmatter-fence 4:1"], "Does good."),
    "long dashes": (f"\u2014\n{GOOD}\n\u2014\nDo good.",
                    ["frontmatter-fence 1:1", "frontmatter-fence 4:1"], "Does good."),
    "dots": (f"---\n{GOOD}\n...\nDo good.", ["frontmatter-fence 4:1"], "Does good."),
    "not closed": (f"---\n{GOOD}\n\n# Good\n\nDo good.", ["frontmatter-unclosed 1:1"], "Does good."),
    "not closed, and a line below": (f"---\n{GOOD}\n\n# Good\n\nDo good: now.\n\n---\n\nMore.",
                                     ["frontmatter-unclosed 1:1"],
                                     "Does good."),
    "no marks": (f"{GOOD}\n\nDo good.", ["frontmatter-unfenced 1:1"], "Does good."),
    "no first mark": (f"{GOOD}\n---\nDo good.", ["frontmatter-unfenced 1:1"], "Does good."),
    "code block": (f"```yaml\n{GOOD}\n```\nDo good.", ["frontmatter-code-block 1:1", "frontmatter-unfenced 2:1"],
                   "Does good."),
    "code block with marks": (f"```markdown\n{fenced(GOOD)}", ["frontmatter-code-block 1:1"], "Does good."),
}  # fmt: skip


@pytest.mark.parametrize("name", MENDED)
def test_what_was_meant_is_read_and_reported_at_its_place(name: str) -> None:
    text, expected, description = MENDED[name]
    found = reading(text)
    assert sorted(said(found.findings)) == sorted(expected)
    assert all(one.mended for one in found.findings)
    assert (found.manifest.name, found.manifest.description) == ("good", description)
    assert "good" in found.manifest.body


@pytest.mark.parametrize("name", MENDED)
def test_what_is_mended_is_what_the_fix_would_be(name: str) -> None:
    """Written as it should be, the same manifest is read, and nothing is found in its frontmatter's form."""
    text, _, _ = MENDED[name]
    manifest = reading(text).manifest
    lines = [f"name: {manifest.name}", f"description: {_quoted(manifest.description)}"]
    again = reading(fenced("\n".join(lines), manifest.body))
    assert again.findings == ()
    assert (again.manifest.name, again.manifest.description) == (manifest.name, manifest.description)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\n", "\n\n  ") + "'"


# What cannot be certain: the finding is an error that stays, and what can be read is read.
KEPT: dict[str, tuple[str, str, str]] = {
    "no frontmatter": ("# Good\n\nDoes good things.\n", "frontmatter-missing 1:1", "Does good things."),
    "only bold text": ("# Good\n\n```\ncode\n```\n**Does** good.\n", "frontmatter-missing 1:1", "Does** good."),
    "only a heading": ("# Good\n", "frontmatter-missing 1:1", "Good"),
    "no description": (fenced("name: good"), "description-missing 1:1", "Do good."),
    "empty description": (fenced("name: good\ndescription:"), "description-missing 3:1", "Do good."),
    "description as a list": (fenced("name: good\ndescription:\n  - a"), "field-type 3:1", "Do good."),
    "long description": (fenced(f"name: good\ndescription: {'a' * 1025}"), "description-long 3:1", "a" * 1025),
    "long name": (fenced(f"name: {'good' * 17}\ndescription: Does."), "name-long 2:1", "Does."),
    "long compatibility": (fenced(f"{GOOD}\ncompatibility: {'a' * 501}"), "compatibility-long 4:1", "Does good."),
    "compatibility as a list": (fenced(f"{GOOD}\ncompatibility:\n  - a"), "field-type 4:1", "Does good."),
    "key twice": (fenced(f"{GOOD}\ndescription: Does evil."), "yaml-duplicate-key 4:1", "Does evil."),
    "key twice, deeper": (fenced(f"{GOOD}\nmetadata:\n  a: b\n  a: c"), "yaml-duplicate-key 6:3", "Does good."),
    "a list": (fenced("- name\n- description"), "frontmatter-not-mapping 2:1", "Do good."),
    "brackets that stay open": (fenced(f"{GOOD}\nmetadata: {{a: b,\n  c: [d\n"), "yaml-syntax 7:1", "Does good."),
    "key of a list": (fenced(f"{GOOD}\n? [a]\n: b"), "yaml-syntax 4:3", "Does good."),
    "alias of nothing": (fenced(f"{GOOD}\nmetadata:\n  <<: *base"), "yaml-alias 5:7", "Does good."),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_not_certain_stays_an_error_and_the_rest_is_read(name: str) -> None:
    text, expected, description = KEPT[name]
    found = reading(text)
    kept = [one for one in found.findings if one.severity is Severity.ERROR and not one.mended]
    assert expected in said(kept)
    assert found.manifest.description == description
    assert all(one.fix for one in found.findings)


def test_a_byte_that_is_no_utf8_is_found_at_its_place() -> None:
    found = reading(fenced("name: good\ndescription: Caf").encode().replace(b"Caf", b"\xc3\xa9 Caf\xe9"))
    assert said(found.findings) == ["text-not-utf8 3:19"]
    assert found.manifest.description == "\u00e9 Caf\ufffd"


def test_windows_line_ends_are_only_mentioned() -> None:
    found = reading(fenced(f"{GOOD}\nversion: '1'").replace("\n", "\r\n"))
    assert said(found.findings) == ["text-crlf None:None", "field-unknown 4:1"]
    assert found.findings[0].severity is Severity.INFO
    assert "\r" not in found.manifest.body


@pytest.mark.parametrize(
    ("written", "read_as"),
    [("PDF Compress", "pdf-compress"), ("feishu_file_fetch", "feishu-file-fetch"),
     ("EvoWeb.ai Builder", "evoweb-ai-builder"),
     ("--a--b--", "a-b"), ("Gr\u00f6\u00dfe", "gr\u00f6\u00dfe"), ("\u6280\u80fd", "\u6280\u80fd")],
)  # fmt: skip
def test_names_become_what_the_specification_wants(written: str, read_as: str) -> None:
    assert reading(fenced(f"name: '{written}'\ndescription: Does.")).manifest.name == read_as


def test_without_name_and_folder_the_name_is_empty_and_an_error() -> None:
    found = reading(fenced("description: Does."), folder=None)
    assert found.manifest.name == ""
    assert [(one.rule, one.mended) for one in found.findings] == [(Rule.NAME_MISSING, False)]


def test_without_a_folder_there_is_nothing_a_name_must_match() -> None:
    assert reading(fenced(GOOD), folder=None).findings == ()
    assert said(reading(fenced(GOOD), folder="other").findings) == ["name-folder 2:1"]


def test_tools_in_parentheses_keep_their_commas() -> None:
    assert reading(fenced(f"{GOOD}\nallowed-tools: Read, Bash(a, b)")).manifest.allowed_tools == "Read Bash(a, b)"


def test_metadata_keeps_what_looks_like_json() -> None:
    manifest = reading(
        fenced(f'{GOOD}\nmetadata: {{"a": {{"always": true, "n": 3, "v": 1.0, "none": null, "l": ["x"]}}}}')
    ).manifest
    assert manifest.metadata == {"a": {"always": True, "n": 3, "v": "1.0", "none": None, "l": ["x"]}}


def test_a_text_without_instructions_and_one_that_is_long_are_mentioned() -> None:
    assert said(reading(fenced(GOOD, "")).findings) == ["body-empty 5:1"]
    assert reading(fenced(GOOD, "a\n" * 499)).findings == ()
    assert said(reading(fenced(GOOD, "a\n" * 500)).findings) == ["body-long 505:1"]


def test_a_mark_inside_a_block_text_does_not_end_the_frontmatter() -> None:
    assert reading(fenced("name: good\ndescription: |\n  a\n  ---\n  b")).manifest.description == "a\n---\nb"
