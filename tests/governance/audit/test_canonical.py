"""The database and the verifier spell a row alike, byte for byte: one hashes, the other checks."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from atom.governance.audit.canonical import GENESIS, SpellingError, body, exact, seal, spelled
from atom.infra.database_url import libpq
from atom.kit.ids import new_id
from tests.conftest import TEMPLATE, Cluster

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
NUMBER = (
    st.integers(-(10**40), 10**40)
    | st.decimals(allow_nan=False, allow_infinity=False, places=9).map(str).map(Decimal)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr).map(Decimal)
)
VALUE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
ODD_NUMBERS = [
    "1.10",
    "1e5",
    "1E-7",
    "-0",
    "-0.0",
    "100",
    "1.000",
    "0.1234567890123456789012345678901234567890",
    "1e300",
]


@pytest.fixture(scope="module")
def connection(cluster: Cluster) -> Iterator[psycopg.Connection[Any]]:
    name = f"spelling_{uuid4().hex[:12]}"
    with psycopg.connect(libpq(cluster.create(name, TEMPLATE)), autocommit=True) as found:
        yield found
    cluster.drop(name)


def as_json(value: Any) -> str:
    """JSON with every digit of its numbers, keys in the order they come."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}: {as_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(as_json(item) for item in value) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


@given(VALUE)
def test_a_value_has_one_spelling(connection: Any, value: Any) -> None:
    text = as_json(value)
    (there,) = connection.execute("SELECT audit_canonical(%s::jsonb)", (text,)).fetchone()
    assert spelled(exact(text)) == there
    (stored,) = connection.execute("SELECT %s::jsonb::text", (text,)).fetchone()
    assert spelled(exact(stored)) == there


@pytest.mark.parametrize("number", ODD_NUMBERS)
def test_a_number_is_written_out_and_never_rounded(connection: Any, number: str) -> None:
    (there,) = connection.execute("SELECT audit_canonical(%s::jsonb)", (number,)).fetchone()
    assert spelled(exact(number)) == there
    assert Decimal(there) == Decimal(number)


@given(st.fixed_dictionaries({"actor": TEXT, "action": TEXT, "decision": TEXT, "reason": TEXT}), VALUE)
def test_a_row_is_hashed_as_the_verifier_hashes_it(connection: Any, words: dict[str, str], data: Any) -> None:
    row: dict[str, Any] = {**words, "id": str(new_id()), "agent_id": None, "run_id": str(new_id())}
    (there,) = connection.execute(
        "SELECT audit_body(ROW(%s, '2026-01-31 08:00:00.000007+02', %s, %s, %s, %s, NULL, %s, %s::jsonb)::audit_entry)",
        (row["id"], row["actor"], row["action"], row["decision"], row["reason"], row["run_id"], as_json(data)),
    ).fetchone()
    mine = body({**row, "at": "2026-01-31T06:00:00.000007Z", "data": exact(as_json(data))})
    assert mine == there


def test_an_entry_has_no_column_that_is_not_hashed(connection: Any) -> None:
    columns = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'audit_entry'"
    ).fetchall()
    (there,) = connection.execute(
        "SELECT audit_body(ROW(%s, now(), '', '', '', '', NULL, NULL, %s)::audit_entry)", (new_id(), Jsonb({}))
    ).fetchone()
    assert {name for (name,) in columns} == set(json.loads(there + "}"))


def test_the_form_is_this_one() -> None:
    """A change here is another form: `v` goes up, and the old one is still verified."""
    row = {"id": "i", "at": "t", "actor": "a", "action": "x", "decision": "d", "reason": "r", "agent_id": None}
    text = body({**row, "run_id": None, "data": {"b": Decimal("1.50"), "a": [True, None, "\u00e9"]}})
    assert text == (
        '{"action":"x","actor":"a","agent_id":null,"at":"t","data":{"a":[true,null,"\u00e9"],"b":1.5},'
        '"decision":"d","id":"i","reason":"r","run_id":null'
    )
    assert seal(text, 7, GENESIS).hex() == "ec6fad8dfe8bef01b1482cead7a9dfa3442cef9f8bfdda2cd4a87c81759bba01"


@pytest.mark.parametrize("text", ["", "{", "NaN", "Infinity", "1e999999999", "[" * 100_000])
def test_what_no_database_holds_is_not_spelled(text: str) -> None:
    with pytest.raises(SpellingError):
        spelled(exact(text))
