"""How a provider's words and headers are read."""

import base64
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from atom.llm.access import Access, KeyInfo
from atom.llm.adapters.faults import MAX_QUOTED, Route, from_status, quoted, retry_after
from atom.llm.adapters.wire import endpoint
from atom.llm.errors import ModelNotConfiguredError
from atom.settings import Provider

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
KEY = "sk-canary-4f9a7b2e81d6c350aa17"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e12"}, 86_400.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"error": {"message": "no"}}, "no"),
        ({"message": "no"}, "no"),
        ({"detail": "no"}, "no"),
        ("a\n  b", "a b"),
        (None, ""),
        ({}, ""),
        (f"key {KEY} is bad", "key ******** is bad"),
        (f"key {KEY[:6]}*****{KEY[-4:]} is bad", "key ******** is bad"),
        ("key sk-proj-abcdefghijklmnop is bad", "key ******** is bad"),
    ],
)
def test_only_the_message_is_quoted_and_no_key(said: object, shown: str) -> None:
    assert quoted(said, KEY) == shown


@pytest.mark.parametrize(
    "piece",
    [
        KEY[-8:],
        KEY[:12],
        KEY[5:20],
        base64.b64encode(KEY.encode()).decode(),
        "".join(f"%{ord(letter):02X}" if not letter.isalnum() else letter for letter in KEY),
    ],
)
def test_no_piece_of_a_key_is_quoted_and_no_other_form(piece: str) -> None:
    shown = quoted({"error": {"message": f"The key that ends in {piece} is unknown. Keys begin with sk."}}, KEY)
    assert shown == "The key that ends in ******** is unknown. Keys begin with sk."


@pytest.mark.parametrize("key", ["", "none", "abc"])
def test_a_short_key_is_cut_whole_and_leaves_the_rest(key: str) -> None:
    assert quoted("it is: abc", key) == ("it is: ********" if key == "abc" else "it is: abc")


@given(before=st.text(max_size=400), after=st.text(max_size=400))
def test_key_never_survives_quoting(before: str, after: str) -> None:
    text = quoted({"error": {"message": f"{before}{KEY}{after}"}}, KEY)
    assert KEY not in text
    assert not [
        KEY[at : at + 8]
        for at in range(len(KEY) - 7)
        if KEY[at : at + 8] in text and KEY[at : at + 8] not in before + after
    ]
    assert len(text) <= MAX_QUOTED


@pytest.mark.parametrize(
    ("info", "key", "address"),
    [
        (KeyInfo(Provider.OPENAI), "OPENAI_API_KEY", "OPENAI_BASE_URL"),
        (KeyInfo(Provider.OPENAI, "team-a", uuid4()), "the key 'team-a'", "The address of the key 'team-a'"),
    ],
)
def test_refused_key_is_told_in_our_words_only_and_by_what_its_owner_calls_it(
    info: KeyInfo, key: str, address: str
) -> None:
    route = Route(
        "openai", "m", "host", KEY, endpoint(Access(info, SecretStr(KEY)), "https://api.openai.com").key_label
    )
    error = from_status(route, 401, {"error": {"message": "Incorrect API key: sk-ca...aa17"}})
    assert error.message == "openai refused the key (401)."
    assert error.hint == f"Check {key} and what its account may use."
    assert from_status(route, 302, "").hint.startswith(f"{address} must be")


@pytest.mark.parametrize("key", ["two words", "käse", "a\x00b", "line\nbreak"])
def test_unusable_key_is_refused_by_its_variable(key: str) -> None:
    with pytest.raises(ModelNotConfiguredError, match="OPENAI_API_KEY") as caught:
        endpoint(Access(KeyInfo(Provider.OPENAI), SecretStr(key)), "https://api.openai.com/v1")
    assert key not in str(caught.value)


@pytest.mark.parametrize("key", [None, SecretStr(""), SecretStr(" \n")])
def test_missing_key_names_its_variable(key: SecretStr | None) -> None:
    with pytest.raises(ModelNotConfiguredError, match="ANTHROPIC_API_KEY is not set"):
        endpoint(Access(KeyInfo(Provider.ANTHROPIC), key), "https://api.anthropic.com")


@pytest.mark.parametrize("url", ["localhost:11434", "ftp://host/v1", "http://", "://", "http://[::1"])
def test_unusable_address_names_its_variable(url: str) -> None:
    with pytest.raises(ModelNotConfiguredError, match="OPENAI_BASE_URL"):
        endpoint(Access(KeyInfo(Provider.OPENAI, base_url=url), SecretStr(KEY)), "https://api.openai.com/v1")


def test_newline_of_a_pasted_key_is_dropped() -> None:
    place = endpoint(
        Access(KeyInfo(Provider.OPENAI, base_url="http://user:pass@box:8080/v1"), SecretStr(f"{KEY}\n")), ""
    )
    assert (place.key, place.host) == (KEY, "box:8080")
    assert KEY not in repr(place)
