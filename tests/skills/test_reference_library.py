"""What is valid is what the reference library of the specification takes for valid, but for known differences."""

import random
from collections import Counter
from pathlib import Path

import pytest
from skills_ref import validate
from skills_ref.errors import ParseError
from skills_ref.parser import parse_frontmatter
from skills_ref.validator import validate_metadata

from atom.skills.bundle.reading import read_bytes
from atom.skills.findings import Severity
from atom.skills.manifest.reading import read
from tests.skills.corpus import PLACE, Published, published

GOOD = "name: good\ndescription: Does good."


def fenced(fields: str) -> str:
    return f"---\n{fields}\n---\n\n# Good\n\nDo good.\n"


def ours(text: str, folder: str) -> bool:
    found = read(read_bytes(text.encode(), "SKILL.md", folder=folder)).findings
    return not any(one.severity is Severity.ERROR for one in found)


def theirs(place: Path, text: str, folder: str) -> bool:
    (place / folder).mkdir()
    (place / folder / "SKILL.md").write_bytes(text.encode())
    return not validate(place / folder)


AGREED = {
    "good": fenced(GOOD),
    "all fields": fenced(f"{GOOD}\nlicense: MIT\ncompatibility: git\nallowed-tools: Read\nmetadata:\n  a: b"),
    "comments": fenced(f"# c\n{GOOD} # d"),
    "folded": fenced("name: good\ndescription: >\n  a: b\n  c"),
    "literal": fenced("name: good\ndescription: |\n  a: b\n  c"),
    "literal of 1024": fenced(f"name: good\ndescription: |\n  {'a' * 1024}"),
    "literal of 1023": fenced(f"name: good\ndescription: |\n  {'a' * 1023}"),
    "plain over lines": fenced("name: good\ndescription: a\n  b\n  c"),
    "quoted": fenced("name: \"good\"\ndescription: 'a: b'"),
    "quoted keys": fenced('"name": good\n"description": x'),
    "spaces behind the marks": f"---  \n{GOOD}\n---  \nDo.",
    "Windows": fenced(GOOD).replace("\n", "\r\n"),
    "number as a name": fenced("name: 123\ndescription: x"),
    "true as a description": fenced("name: good\ndescription: true"),
    "no value": fenced("name:\ndescription: x"),
    "null": fenced("name: ~\ndescription: x"),
    "spaces": fenced('name: good\ndescription: "  "'),
    "1024": fenced(f"name: good\ndescription: {'a' * 1024}"),
    "1025": fenced(f"name: good\ndescription: {'a' * 1025}"),
    "500": fenced(f"{GOOD}\ncompatibility: {'a' * 500}"),
    "501": fenced(f"{GOOD}\ncompatibility: {'a' * 501}"),
    "capital": fenced("name: Good\ndescription: x"),
    "underscore": fenced("name: go_od\ndescription: x"),
    "hyphen first": fenced("name: -good\ndescription: x"),
    "hyphen last": fenced("name: good-\ndescription: x"),
    "two hyphens": fenced("name: go--od\ndescription: x"),
    "other folder": fenced("name: better\ndescription: x"),
    "full width": fenced("name: \uff47ood\ndescription: x"),
    "no name": fenced("description: x"),
    "no description": fenced("name: good"),
    "list as a description": fenced("name: good\ndescription:\n  - a"),
    "unknown field": fenced(f"{GOOD}\nversion: 1"),
    "field with a capital": fenced("Name: good\ndescription: x"),
    "nested metadata": fenced(f"{GOOD}\nmetadata:\n  a:\n    b: c"),
    "numbers in metadata": fenced(f"{GOOD}\nmetadata:\n  version: 1.0"),
    "metadata as a text": fenced(f"{GOOD}\nmetadata: abc"),
    "metadata as a list": fenced(f"{GOOD}\nmetadata:\n  - a"),
    "flow style": fenced(f"{GOOD}\nmetadata: {{a: b}}"),
    "empty flow style": fenced(f"{GOOD}\nmetadata: {{}}"),
    "tools as a list": fenced(f"{GOOD}\nallowed-tools:\n  - Read"),
    "license as a mapping": fenced(f"{GOOD}\nlicense:\n  a: b"),
    "compatibility as a list": fenced(f"{GOOD}\ncompatibility:\n  - a"),
    "compatibility without value": fenced(f"{GOOD}\ncompatibility:"),
    "key twice": fenced(f"{GOOD}\nname: good"),
    "key twice, deeper": fenced(f"{GOOD}\nmetadata:\n  a: 1\n  a: 2"),
    "anchor": fenced(f"{GOOD}\nlicense: &a MIT"),
    "tag": fenced(f"{GOOD}\nlicense: !!str MIT"),
    "uneven": fenced(f"{GOOD}\nmetadata:\n  a:\n     b: c\n  d:\n    e: f"),
    "uneven lists": fenced(f"{GOOD}\nmetadata:\n  a:\n   - b\n  c:\n    - d"),
    "colon": fenced("name: good\ndescription: a: b"),
    "hash": fenced("name: good\ndescription: a # b"),
    "brackets": fenced("name: good\ndescription: [a] b"),
    "tab": fenced(f"{GOOD}\nmetadata:\n\ta: b"),
    "no space": fenced("name:good\ndescription: x"),
    "a list": fenced("- a"),
    "nothing": "---\n---\nDo.",
    "no frontmatter": "# Good\n\nDo.",
    "not closed": f"---\n{GOOD}\n\n# Good\n",
    "dots": f"---\n{GOOD}\n...\nDo.",
    "line before": f"\n{fenced(GOOD)}",
    "byte order mark": f"\ufeff{fenced(GOOD)}",
}

# Each is explained in docs/operate/skills.md: (text, valid for us, valid for them).
DIFFERENT = {
    "the value = is a text": (fenced("name: good\ndescription: ="), True, False),
    "--- within a line ends the frontmatter": ("---\nname: good\ndescription: x ---\nDo.", False, True),
    "--- in a value ends the frontmatter": (
        fenced("name: good\ndescription: |\n  a\n  ---\n  b\nlicense: MIT"),
        True,
        True,
    ),
    "a field behind --- in a value is not seen": (fenced("name: good\ndescription: a --- b\nversion: 1"), False, True),
    "a name behind --- in a value is not seen": (fenced("description: a --- b\nname: good"), True, False),
    "what is wrong behind --- in a value is not seen": (fenced("name: good\ndescription: a---b: c"), False, True),
}


KEYS = [
    "name", "description", "license", "compatibility", "metadata", "allowed-tools", "version", '"name"', "name ",
    "Name", "1", "a b", "- x", "<<", "?", "true", "",
]  # fmt: skip
COLONS = [": ", ": ", ": ", ":", " : ", ":\t", ":  "]
VALUES = [
    "good", "Good", "x y", '"q"', "'s'", '"a" b', "a: b", "a # b", "[a, b]", "[]", "{a: b}", "| ", ">-", "|", "123",
    "1.0", "true", "null", "~", "", '""', "2020-01-01", "*x", "&x y", "!t z", "@a", "%a", "`a`", "- a", "? a", "a:",
    "a, b", "-", "\u00e9", "a" * 70, "it's", '"a\\nb"', "a\\b", "\t", "a\tb", "...", "0x1F", ".", "-a", "!!str a",
    "{{x}}", "${x}", '"unclosed', "'unclosed", "[unclosed",
]  # fmt: skip


def _made_up(rng: random.Random) -> str:
    """Fields that are partly good, partly what people write by mistake."""
    lines = ["name: good"] * (rng.random() < 0.8)
    if rng.random() < 0.8:
        lines.append(f"description: {rng.choice(VALUES)}")
    for _ in range(rng.randint(0, 4)):
        indent = " " * rng.choice([0, 0, 0, 2, 2, 4, 1])
        field = f"{rng.choice(KEYS)}{rng.choice(COLONS)}{rng.choice(VALUES)}"
        lines.append(rng.choice([indent + field] * 8 + [f"{indent}- {rng.choice(VALUES)}", "\t" + field, "", "# c"]))
    if rng.random() < 0.2:
        rng.shuffle(lines)
    return "\n".join(lines)


def test_verdicts_agree_on_what_is_made_up() -> None:
    rng, verdicts = random.Random(1), Counter[bool]()
    for _ in range(2000):
        text = fenced(_made_up(rng))
        try:
            metadata, _ = parse_frontmatter(text)
            valid = not validate_metadata(metadata, Path("good"))
        except ParseError:
            valid = False
        verdicts[valid] += 1
        assert ours(text, "good") == valid, text
    assert min(verdicts.values()) > 50


@pytest.mark.parametrize("name", AGREED)
def test_verdicts_agree(name: str, tmp_path: Path) -> None:
    assert ours(AGREED[name], "good") == theirs(tmp_path, AGREED[name], "good")


def test_both_verdicts_are_among_them(tmp_path: Path) -> None:
    valid = [name for name in AGREED if ours(AGREED[name], "good")]
    assert 10 < len(valid) < len(AGREED) - 10


@pytest.mark.parametrize("name", DIFFERENT)
def test_differences_are_as_documented(name: str, tmp_path: Path) -> None:
    text, for_us, for_them = DIFFERENT[name]
    assert (ours(text, "good"), theirs(tmp_path, text, "good")) == (for_us, for_them)


@pytest.mark.skipif(not published(), reason=f"no corpus of community skills at {PLACE}")
def test_verdicts_agree_on_every_published_skill(tmp_path: Path) -> None:
    def differs(number: int, one: Published) -> bool:
        place = tmp_path / str(number)
        place.mkdir()
        return ours(one.text, one.folder) != theirs(place, one.text, one.folder)

    assert [one.folder for number, one in enumerate(published()) if differs(number, one)] == []
