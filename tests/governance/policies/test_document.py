"""YAML of people: plain values with their places; nothing else comes out, and nothing large out of something small."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.governance.policies.document import MAX_BYTES, parse
from atom.governance.policies.errors import PolicyInvalidError


def bomb(first: str, doublings: int) -> str:
    names = "abcdefghijklmnop"[: doublings + 1]
    lines = [f"{name}: &{name} [*{before}, *{before}]" for before, name in pairwise(names)]
    return "\n".join([f"a: &a {first}", *lines])


REFUSED = {
    "an object of Python": ("a: !!python/object/apply:os.system ['true']", 1, 4, "tag"),
    "a tag": ("a: 1\nb: !secret x", 2, 4, "tag"),
    "a tagged list": ("a: !!set {x}", 1, 4, "tag"),
    "a key twice": ("a: 1\nb: 2\na: 3", 3, 1, "twice"),
    "a key that is a list": ("? [a, b]\n: 1", 1, 3, "plain word"),
    "two documents": ("a: 1\n---\nb: 2", 2, 1, "one document"),
    "nothing": ("# only a comment\n", 1, 1, "empty"),
    "not closed": ("a: [1, 2\nb: 3", 2, 2, "not YAML"),
    "a tab": ("a:\n\t- b", 2, 1, "not YAML"),
    "an unknown alias": ("a: *b", 1, 4, "nothing that came before"),
    "an alias of itself": ("a: &a [*a]", 1, 8, "nothing that came before"),
    "a bomb of aliases": (bomb("x", 15), 12, 8, "aliases"),
    "a bomb of values": (bomb(f"[{'x,' * 100}]", 9), None, None, "values"),
    "a bomb of text": (bomb("x" * 10_000, 9), None, None, "values"),
    "too deep": ("[" * 5000, 1, 22, "nested"),
    "too deep in blocks": ("\n".join(" " * n + "a:" for n in range(100)), 22, 22, "nested"),
    "too large": ("a: " + "x" * MAX_BYTES, 1, 1, "bytes"),
    "a control character": ("a: 1\nb: \x07", 2, 1, "character"),
    "half of a surrogate pair": ("a: \ud800", 1, 1, "character"),
    "a huge number": ("a: 1e999", 1, 4, "too large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_where_it_stands(case: str) -> None:
    text, line, column, said = REFUSED[case]
    with pytest.raises(PolicyInvalidError) as refused:
        parse(text)
    if line is not None:
        assert (refused.value.details["line"], refused.value.details["column"]) == (line, column)
    assert said in str(refused.value)


def test_only_what_json_has_is_more_than_text() -> None:
    """What YAML 1.1 makes of these has bitten many: times become numbers, a country becomes a boolean."""
    words = ["yes", "no", "on", "NO", "10:30", "2026-01-01", "0o17", "0x1f", "1_000", "True", "nan", ".inf", "007", "="]
    document = parse("\n".join(f"- {word}" for word in words))
    assert document.value == words
    assert parse('[1, -2, 1.5, 1e3, true, false, null, ~, "1", "true", \'null\']').value == [
        1, -2, 1.5, 1000.0, True, False, None, None, "1", "true", "null",
    ]  # fmt: skip


def test_an_alias_stands_for_what_it_names() -> None:
    found = parse("a: &x {k: [1, 2]}\nb: *x\n")
    assert found.value == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}}


def test_every_value_has_its_place() -> None:
    found = parse("policy: p\nrules:\n  - name: one\n    when: {time: {zone: UTC}}\n")
    assert found.place(("rules", 0, "name")) == found.places["rules", 0, "name"]
    assert (found.places["rules", 0, "name"].line, found.places["rules", 0, "name"].column) == (3, 5)
    assert found.place(("rules", 0, "effect", "x")) == found.places["rules", 0]


@given(st.text(max_size=300) | st.text("-:[]{}&*!|>#'\"% \nab01", max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except PolicyInvalidError:
        return
    assert isinstance(found.value, str | int | float | bool | list | dict | None)


def test_the_largest_document_is_read_in_time() -> None:
    text = "a:\n" + "- {b: [1, 2], c: d}\n" * (MAX_BYTES // 20 - 1)
    began = time.monotonic()
    assert len(parse(text).value["a"]) == MAX_BYTES // 20 - 1
    assert time.monotonic() - began < 10
