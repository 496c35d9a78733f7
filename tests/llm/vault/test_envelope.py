"""An envelope opens where it was sealed, whole, or not at all.

The sample changes some bits of each of a thousand envelopes. `VAULT_VOLUME=all` changes all of them, as
`make campaign` does.
"""

import asyncio
import base64
import json
import os
import random
import traceback
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.llm.vault.envelope import FIELDS, Place, rewrap, seal, unseal
from atom.llm.vault.errors import EnvelopeError
from atom.llm.vault.kek import LocalKek

ENVELOPES = 1000
BITS = 12  # of each envelope in the sample
SEALED = ("wrapped", "nonce", "ct")
SECRET = b"sk-canary-4f9a7b2e81d6c350aa17"
PLACE = Place("0193b2a4-0000-7000-8000-000000000001", "openai", 1)
KEK = LocalKek(bytes(range(32)))
OTHER = LocalKek(bytes(range(32, 64)))
Envelope = dict[str, Any]


def sealed(place: Place = PLACE, secret: bytes = SECRET, kek: LocalKek = KEK) -> Envelope:
    return asyncio.run(seal(kek, place, secret))


def opened(envelope: Envelope, place: Place = PLACE, kek: LocalKek = KEK) -> bytes:
    return asyncio.run(unseal(kek, place, envelope))


async def refused(kek: LocalKek, place: Place, envelope: Envelope) -> bool:
    try:
        await unseal(kek, place, envelope)
    except EnvelopeError:
        return True
    return False


def bits(envelope: Envelope) -> list[tuple[str, int]]:
    """Every bit of every field as it is stored: of the text that is in the row, base64 where it is that."""
    texts = {name: str(envelope[name]) for name in sorted(envelope)}
    return [(name, bit) for name, text in texts.items() for bit in range(8 * len(text.encode()))]


def flipped(envelope: Envelope, name: str, bit: int) -> Envelope:
    raw = bytearray(str(envelope[name]).encode())
    raw[bit // 8] ^= 1 << bit % 8
    text = raw.decode("latin-1")
    return {**envelope, name: int(text) if name == "v" and text.isdigit() else text}


async def test_every_flipped_bit_is_refused() -> None:
    """Of 1,000 envelopes of secrets of every length up to 64."""
    whole, chance, tried = os.environ.get("VAULT_VOLUME") == "all", random.Random(20261124), 0
    for number in range(ENVELOPES):
        kek = LocalKek(chance.randbytes(32))
        place = Place(f"key-{number}", chance.choice(("openai", "anthropic", "azure")), 1 + number % 7)
        secret = chance.randbytes(1 + number % 64)
        envelope = await seal(kek, place, secret)
        assert await unseal(kek, place, envelope) == secret
        every = bits(envelope)
        for name, bit in every if whole else chance.sample(every, BITS):
            changed = flipped(envelope, name, bit)
            assert changed != envelope
            assert await refused(kek, place, changed), (number, name, bit)
            tried += 1
    assert tried >= ENVELOPES * BITS


def test_every_bit_of_one_envelope_is_refused() -> None:
    """The sample's own sample has no blind spot: here are all of them, each field among them."""
    envelope = sealed()
    every = bits(envelope)
    assert {name for name, _ in every} == FIELDS
    assert [one for one in every if not asyncio.run(refused(KEK, PLACE, flipped(envelope, *one)))] == []


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(PLACE, id="0193b2a4-0000-7000-8000-000000000002"),
        replace(PLACE, provider="anthropic"),
        replace(PLACE, version=2),
        replace(PLACE, id=PLACE.id + "o", provider=PLACE.provider[1:]),  # the same bytes in a row
    ],
)
def test_envelope_opens_at_its_own_place_only(elsewhere: Place) -> None:
    with pytest.raises(EnvelopeError):
        opened(sealed(), elsewhere)
    assert opened(sealed()) == SECRET


def test_envelope_opens_with_its_own_key_only() -> None:
    with pytest.raises(EnvelopeError):
        opened(sealed(), kek=OTHER)
    with pytest.raises(EnvelopeError):
        opened({**sealed(), "kek_id": OTHER.kek_id}, kek=OTHER)
    with pytest.raises(EnvelopeError):
        opened({**sealed(), "kek_id": OTHER.kek_id})


def test_a_wrapped_key_is_bound_to_the_id_of_the_key_that_wrapped_it() -> None:
    """A key service may serve several keys under one credential: the id in the envelope must not be exchangeable."""

    class Renamed(LocalKek):
        @property
        def kek_id(self) -> str:
            return "another"

    renamed = Renamed(KEK.key)
    with pytest.raises(EnvelopeError):
        opened({**sealed(), "kek_id": "another"}, kek=renamed)


@pytest.mark.parametrize("part", SEALED)
def test_no_part_may_come_from_another_envelope_of_the_same_secret(part: str) -> None:
    one, two = sealed(), sealed()
    assert one[part] != two[part], "each envelope has a data key and nonces of its own"
    with pytest.raises(EnvelopeError):
        opened({**one, part: two[part]})


@pytest.mark.parametrize("part", SEALED)
@pytest.mark.parametrize("change", ["", "=", "A", None, 7, [], {}, "ä", "AAAA\n", "*" * 40])
def test_what_is_no_strict_base64_is_refused(part: str, change: Any) -> None:
    with pytest.raises(EnvelopeError):
        opened({**sealed(), part: change})


@pytest.mark.parametrize("spelling", ["\n", " ", "=", "===="])
@pytest.mark.parametrize("part", SEALED)
def test_another_spelling_of_the_same_bytes_is_refused(part: str, spelling: str) -> None:
    envelope = sealed()
    with pytest.raises(EnvelopeError):
        opened({**envelope, part: envelope[part] + spelling})


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"v": True}, {"v": "1"}, {"v": None}, {"alg": "A128GCM"}, {"alg": "none"}, {"alg": None}, {"extra": 1}],
)
def test_unknown_forms_are_refused(change: Envelope) -> None:
    with pytest.raises(EnvelopeError):
        opened({**sealed(), **change})


@pytest.mark.parametrize("gone", sorted(FIELDS))
def test_an_envelope_without_a_field_is_refused(gone: str) -> None:
    envelope = sealed()
    del envelope[gone]
    with pytest.raises(EnvelopeError):
        opened(envelope)
    with pytest.raises(EnvelopeError):
        opened({})


def test_truncated_parts_are_refused() -> None:
    envelope = sealed()
    for part in SEALED:
        raw = base64.b64decode(envelope[part])
        for length in range(len(raw)):
            with pytest.raises(EnvelopeError):
                opened({**envelope, part: base64.b64encode(raw[:length]).decode()})


places = st.builds(Place, st.text(max_size=40), st.text(max_size=20), st.integers(1, 2**31))
keks = st.binary(min_size=32, max_size=32).map(LocalKek)


@given(place=places, secret=st.binary(max_size=5000), kek=keks)
def test_what_is_sealed_opens_again(place: Place, secret: bytes, kek: LocalKek) -> None:
    envelope = sealed(place, secret, kek)
    assert opened(json.loads(json.dumps(envelope)), place, kek) == secret
    assert len(secret) < 8 or base64.b64encode(secret).decode()[:10] not in json.dumps(envelope)


@given(place=places, secret=st.binary(max_size=200), old=keks, new=keks)
def test_what_is_wrapped_anew_opens_with_the_new_key(place: Place, secret: bytes, old: LocalKek, new: LocalKek) -> None:
    before = sealed(place, secret, old)
    after = asyncio.run(rewrap(old, new, place, before))
    assert opened(after, place, new) == secret
    assert (after["nonce"], after["ct"]) == (before["nonce"], before["ct"]), "only the data key is opened"
    assert after["wrapped"] != before["wrapped"]
    assert old.key == new.key or asyncio.run(refused(old, place, after))


@given(one=places, two=places)
def test_no_two_places_are_bound_alike(one: Place, two: Place) -> None:
    assert (one == two) == (one.bound("secret") == two.bound("secret"))
    assert one.bound("secret") != one.bound("data-key")


def test_nothing_of_a_secret_or_a_key_is_said() -> None:
    """Not by what is printed of objects, and not by what is raised, its traceback included."""
    envelope, said = sealed(), [repr(KEK), str(KEK), repr(PLACE)]
    for changed in (*(flipped(envelope, part, 80) for part in SEALED), {}, {**envelope, "ct": SECRET.decode()}):
        with pytest.raises(EnvelopeError) as caught:
            opened(changed)
        error = caught.value
        said += [str(error), repr(error), repr(error.details), "".join(traceback.format_exception(error))]
        assert error.__suppress_context__ or error.__context__ is None
    hidden = [SECRET.decode(), repr(KEK.key), KEK.key.hex(), base64.b64encode(KEK.key).decode(), envelope["ct"]]
    assert [(text, word) for text in said for word in hidden if word in text] == []
