"""What looks like a secret does not reach people; what does not, stays readable."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.identity.tokens import generate
from atom.kit.redact import MASK, redact

CANARY = "hunter2Canary9XyZ"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLWhlcmU"


@pytest.mark.parametrize(
    "text",
    [
        f"sk-{CANARY}",
        f"key sk-ant-api03-{CANARY} was refused",
        f"postgresql://atom:{CANARY}@db:5432/atom",
        f"postgresql://atom:pa/ss#{CANARY}@db:5432/atom",
        f"postgresql://atom:p@ss@{CANARY}@db/atom",
        f"redis://:{CANARY}@cache:6379/0",
        f"https://user:{CANARY}@proxy/",
        f"Authorization: Bearer {CANARY}",
        f"basic {CANARY}==",
        f"host=db user=atom password={CANARY} dbname=atom",
        f"host=db password='with space {CANARY}' dbname=atom",
        f"postgresql://db/atom?user=atom&password={CANARY}&sslmode=require",
        f"https://api.example.com/v1?api_key={CANARY}",
        f"https://api.example.com/v1?access_token={CANARY}",
        f"ghp_{CANARY}abcdefghij",
    ],
)
def test_secret_in_text_is_cut_out(text: str) -> None:
    said = redact(f"before {text} after")
    assert CANARY not in said
    assert MASK in said
    assert said.startswith("before ")
    assert said.endswith(" after")


@pytest.mark.parametrize("text", [JWT, "AKIAIOSFODNN7EXAMPLE", "AIzaSyA-1234567890abcdefghijklmnopqrstu"])
def test_well_known_keys_are_recognised_by_their_form(text: str) -> None:
    assert redact(f"got {text}") == f"got {MASK}"


def test_our_own_token_is_recognised_whatever_is_drawn() -> None:
    for _ in range(50):
        token = generate().text
        assert redact(f"token {token}, used") == f"token {MASK}, used"


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8000/health/ready",
        "the password is wrong",
        "sk- is a prefix; ask-me-anything-now",
        "write to joe@example.com at 10:30",
        "max_tokens=4096 input_tokens: 12",
        "atom_latency_seconds_bucket",
        "basic auth is off",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_values_under_secret_names_are_masked_at_every_level() -> None:
    value = {"api_key": CANARY, "Authorization": CANARY, "n": [{"password": CANARY, "port": 5432}], "token": None}
    assert redact(value) == {
        "api_key": MASK,
        "Authorization": MASK,
        "n": [{"password": MASK, "port": 5432}],
        "token": None,
    }


def test_nesting_deeper_than_the_walk_hides_nothing() -> None:
    value: Any = f"sk-{CANARY}"
    for _ in range(12):
        value = {"inner": [value]}
    assert CANARY not in repr(redact(value))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_value_is_taken(value: Any) -> None:
    redact(value)
    assert CANARY not in repr(redact([value, f"sk-{CANARY}"]))


@pytest.mark.parametrize(
    "text",
    ["://a:" * 20_000, "-eyJ" * 25_000, "sk-" * 30_000, "bearer " * 15_000, "password='" * 10_000, "atom_a_" * 15_000],
)
def test_hostile_text_costs_no_time(text: str) -> None:
    began = time.perf_counter()
    redact(text)
    assert time.perf_counter() - began < 10
