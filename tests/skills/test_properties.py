"""Whatever the bytes are, they are read or refused, and nothing else happens."""

import io
import zipfile

from hypothesis import example, given, settings
from hypothesis import strategies as st

from atom.skills.adapters.grammars import TreeSitter
from atom.skills.bundle.reading import read_bytes
from atom.skills.errors import BundleError
from atom.skills.hidden import ANY, find
from atom.skills.lines import Lines
from atom.skills.ports import TooComplexError
from atom.skills.validation.scripts import python_problems
from atom.skills.validation.service import Report, Validator
from tests.skills.packing import FILES, MANIFEST, SQUEEZED, tarred, zipped

VALIDATOR = Validator(TreeSitter())
ARCHIVES = [zipped(), zipped(method=0), tarred(), *(squeeze(tarred()) for squeeze in SQUEEZED.values())]
PIECES = [
    "---", "\n", "\n\n", ": ", ":", " ", "  ", "\t", "- ", "{", "}", "[", "]", "&a ", "*a", "!t ", "|", ">", '"', "'",
    "#", "?", ",", "name", "description", "metadata", "allowed-tools", "good", "a b", "\u00a0", "\u202e", "\ufeff",
    "\r", "\x00", "\x85", "\u2028", "\U0001f600", "\u00e9", "...", "```", "<<", "~", "1.0", "scripts/a.py",
    "](a.md)",
]  # fmt: skip
PYTHON = ["def f(", "):", "\n", "    ", "\t", "x = ", "1", "(", "'", '"""', "if x:", "\\", "\x00", "\u00e9"]
NAMES = st.lists(
    st.text(st.sampled_from("ab\u00e9."), min_size=1, max_size=4).filter(lambda part: part.strip(".")),
    min_size=1,
    max_size=3,
).map("/".join)
FILE_SETS = st.dictionaries(NAMES, st.binary(max_size=50), max_size=6)


def outcome(data: bytes, name: str = "SKILL.md") -> Report | BundleError:
    """Any other exception fails the test."""
    try:
        return VALIDATOR.validate(read_bytes(data, name, folder="good"))
    except BundleError as error:
        caught = error
    assert caught.problem
    assert caught.hint
    assert caught.message.isprintable()
    return caught


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=2000))
@example(b"PK\x03\x04")
@example(b"\x1f\x8b")
@example(b"\x28\xb5\x2f\xfd")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """As a text, or not at all: no archive comes about by chance."""
    found = outcome(data)
    assert isinstance(found, BundleError) or found.bundle.files["SKILL.md"].data == data


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(ARCHIVES),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    st.booleans(),
)
def test_an_archive_with_wrong_bytes_is_read_or_refused(data: bytes, changes: list[tuple[int, int]], cut: bool) -> None:
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(changed)] = value
    found = outcome(bytes(changed[: len(changed) * 2 // 3] if cut else changed), "x.zip")
    if not changes and not cut:
        assert isinstance(found, Report)


@settings(deadline=None, max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.booleans())
@example("name: a\n? [a]\n: b", True)
@example("name: &a [*a]", True)
@example("name: ", False)
@example("name: !%1b[2J x", True)
@example("a\u202eb", False)
def test_any_text_is_read_and_every_place_is_in_it(text: str, fenced: bool) -> None:
    text = f"---\n{text}\n---\nDo good.\n" if fenced else text
    found = outcome(text.encode())
    if isinstance(found, BundleError):
        return
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff").split("\n")
    for finding in found.findings:
        assert (finding.message + finding.fix).isprintable(), finding
        place = finding.place
        if place.line is not None:
            assert place.column is not None
            assert 1 <= place.line <= len(lines)
            assert 1 <= place.column <= len(lines[place.line - 1]) + 1, finding


@settings(deadline=None, max_examples=200)
@given(FILE_SETS)
def test_packed_and_read_again_it_is_the_same(files: dict[str, bytes]) -> None:
    files = {"SKILL.md": MANIFEST, **files}
    found = {form: outcome(data, "x") for form, data in (("zip", zipped(files)), ("tar", tarred(files)))}
    if isinstance(found["zip"], BundleError):
        assert isinstance(found["tar"], BundleError)
        assert found["zip"].problem == found["tar"].problem
        return
    assert isinstance(found["tar"], Report)
    kept = {name: data for name, data in files.items() if not name.rpartition("/")[2].startswith("._")}
    assert {path: member.data for path, member in found["zip"].bundle.files.items()} == kept
    assert found["zip"].bundle.digest == found["tar"].bundle.digest


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=200))
def test_any_name_stays_inside_or_is_refused(name: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("SKILL.md", MANIFEST)
        try:
            archive.writestr(name, b"")
        except (ValueError, UnicodeError, IndexError):
            return  # `zipfile` does not write it
    found = outcome(out.getvalue(), "x.zip")
    if isinstance(found, Report):
        for path in found.bundle.files:
            assert not path.startswith("/")
            assert ".." not in path.split("/")
            assert not ANY.search(path)


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from("ab\n\r\u202e\u200b\u200d\U0001f600\u00e9"), max_size=60))
def test_hidden_characters_are_found_where_they_are(text: str) -> None:
    lines = Lines.of(text)
    rows = text.replace("\r\n", "\n ").replace("\r", "\n").split("\n")
    for found in find(text):
        line, column = lines.place(found.offset)
        row = rows[line - 1].removeprefix(" ") if line > 1 else rows[0]
        assert found.character in {row[column - 1 : column], "\r"}


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(PYTHON), max_size=20).map("".join))
def test_python_problems_are_in_the_text(text: str) -> None:
    try:
        problems = python_problems(text)
    except TooComplexError:
        return
    for problem in problems:
        assert 1 <= problem.line <= text.count("\n") + 2
        assert problem.column >= 1


def test_a_good_bundle_survives_all_of_this() -> None:
    for data in ARCHIVES:
        found = outcome(data, "x.zip")
        assert isinstance(found, Report)
        assert found.valid
        assert set(found.bundle.files) == set(FILES)
