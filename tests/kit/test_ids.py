"""Ids are UUIDv7: they sort by the time they were made, and have one spelling."""

import time
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.kit.ids import new_id, parse_id


def test_ids_are_unique_version_7_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(5_000)]
    assert len(set(ids)) == len(ids)
    assert {id_.version for id_ in ids} == {7}
    assert ids == sorted(ids)


def test_id_carries_the_milliseconds_of_its_making() -> None:
    assert abs((new_id().int >> 80) - time.time() * 1000) < 2_000


@given(st.uuids())
def test_canonical_spelling_is_read_back(id_: UUID) -> None:
    assert parse_id(str(id_)) == id_
    assert parse_id(str(id_).upper()) == id_


@given(st.text())
def test_any_other_text_is_no_id(text: str) -> None:
    assert parse_id(text) is None or str(parse_id(text)) == text.lower()


@pytest.mark.parametrize("form", ["{{{}}}", "urn:uuid:{}", " {}", "{}\n"])
def test_other_spellings_of_a_uuid_are_refused(form: str) -> None:
    assert parse_id(form.format(uuid4())) is None


def test_uuid_without_dashes_is_refused() -> None:
    assert parse_id(uuid4().hex) is None
