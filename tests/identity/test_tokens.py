"""API keys as text: what is generated is understood, and nothing else is."""

import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st

from atom.identity.tokens import ALPHABET, KEY_ID_LENGTH, SECRET_LENGTH, generate, parse
from atom.kit.redact import MASK, redact


def test_what_is_generated_is_understood() -> None:
    for _ in range(200):
        token = generate()
        parsed = parse(token.text)
        assert parsed is not None
        key_id, secret = parsed
        assert key_id == token.key_id
        assert hashlib.sha256(secret.encode()).digest() == token.secret_hash
        assert secret.encode() not in token.secret_hash


def test_the_form_is_one_that_scanners_find() -> None:
    text = generate().text
    assert re.fullmatch(r"atom_key_[A-Za-z0-9]{12}_[A-Za-z0-9]{43}_[0-9a-f]{8}", text)
    assert redact(f"the key is {text}.") == f"the key is {MASK}."


def test_secrets_are_random_and_use_the_whole_alphabet() -> None:
    texts = [generate().text.split("_") for _ in range(300)]
    assert len({parts[2] for parts in texts}) == len({parts[3] for parts in texts}) == 300
    assert set("".join(parts[3] for parts in texts)) == set(ALPHABET)
    assert len(ALPHABET) ** SECRET_LENGTH > 2**255
    assert len(ALPHABET) ** KEY_ID_LENGTH > 2**70


@given(st.data())
def test_one_wrong_character_is_found_without_a_database(data: st.DataObject) -> None:
    text = generate().text
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(min_codepoint=1, max_codepoint=0x2FF).filter(lambda c: c != text[place]))
    assert parse(text[:place] + other + text[place + 1 :]) is None


@given(st.text(max_size=90) | st.from_regex(r"atom_key_[A-Za-z0-9_]{0,70}", fullmatch=True))
def test_no_other_text_is_a_key(text: str) -> None:
    assert parse(text) is None


def test_a_key_with_something_around_it_is_not_one() -> None:
    text = generate().text
    for other in (f" {text}", f"{text} ", f"{text}\n", text.upper(), text + "_", f"{text}\x00", text.replace("_", "-")):
        assert parse(other) is None
