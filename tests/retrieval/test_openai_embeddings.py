"""An endpoint that speaks OpenAI's Embeddings: what is sent, what is taken, and what each failure is called."""

import json
import math
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from atom.retrieval.adapters.openai_embeddings import BATCH, MAX_CHARS, EndpointEmbedder, EndpointOptions
from atom.retrieval.errors import (
    EmbedderAwayError,
    EmbedderError,
    EmbedderInputError,
    EmbedderRefusedError,
    EmbedderReplyError,
)
from atom.retrieval.testing import Answer, EmbeddingEndpoint, WordEmbedder

KEY = "sk-embedder-0123456789abcdef"


@pytest.fixture
def endpoint() -> Iterator[EmbeddingEndpoint]:
    with EmbeddingEndpoint().running() as found:
        yield found


def embedder(endpoint: EmbeddingEndpoint, *, key: str | None = KEY, seconds: float = 20.0) -> EndpointEmbedder:
    secret = None if key is None else SecretStr(key)
    return EndpointEmbedder(EndpointOptions(endpoint.url, "nomic-embed-text", secret, seconds))


async def test_vectors_come_in_the_order_of_the_texts_whatever_order_the_answer_has(
    endpoint: EmbeddingEndpoint,
) -> None:
    mine = embedder(endpoint)
    assert (mine.name, mine.dimensions) == ("openai:nomic-embed-text", 0)
    found = await mine.embed(["the cat sleeps", "it rains"])
    expected = await WordEmbedder().embed(["the cat sleeps", "it rains"])
    assert mine.dimensions == 64
    for one, other in zip(found.rows(), expected.rows(), strict=True):
        assert one == pytest.approx(other)
    assert endpoint.models == ["nomic-embed-text"]
    assert endpoint.keys == [f"Bearer {KEY}"]
    await mine.aclose()


async def test_vectors_are_made_of_length_one(endpoint: EmbeddingEndpoint) -> None:
    endpoint.answers = [Answer(body=json.dumps({"data": [{"index": 0, "embedding": [3, 4.0]}]}))]
    mine = embedder(endpoint)
    [row] = (await mine.embed(["x"])).rows()
    assert row == pytest.approx([0.6, 0.8])
    assert math.hypot(*row) == pytest.approx(1)
    await mine.aclose()


async def test_requests_are_bounded_in_texts_and_in_characters(endpoint: EmbeddingEndpoint) -> None:
    mine = embedder(endpoint, key=None)
    assert len(await mine.embed(["word " * 5_000] * (BATCH + 1))) == BATCH + 1
    assert [len(texts) for texts in endpoint.asked] == [BATCH, 1]
    assert {len(text) for texts in endpoint.asked for text in texts} == {MAX_CHARS}
    assert endpoint.keys == ["", ""]
    await mine.aclose()


async def test_a_text_that_is_too_long_for_the_model_counts_with_its_start(endpoint: EmbeddingEndpoint) -> None:
    endpoint.refuse = lambda text: len(text) > 2_000
    mine = embedder(endpoint)
    assert len(await mine.embed(["short", "long " * 1_000, "short too"])) == 3
    assert ["long " * 250] in endpoint.asked
    await mine.aclose()


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
async def test_what_passes_is_tried_again(endpoint: EmbeddingEndpoint, status: int) -> None:
    endpoint.answers = [Answer(status, headers={"retry-after": "0"})]
    mine = embedder(endpoint)
    assert len(await mine.embed(["x"])) == 1
    assert len(endpoint.asked) == 2
    await mine.aclose()


async def test_a_wait_longer_than_a_call_may_take_is_told_instead_of_waited(endpoint: EmbeddingEndpoint) -> None:
    endpoint.always = Answer(429, headers={"retry-after": "3600"})
    mine = embedder(endpoint)
    with pytest.raises(EmbedderAwayError) as caught:
        await mine.embed(["x"])
    assert caught.value.retry_after == 3600
    assert len(endpoint.asked) == 1
    await mine.aclose()


@pytest.mark.parametrize(
    ("status", "kind", "setting"),
    [
        (401, EmbedderRefusedError, "ATOM_MEMORY__EMBEDDER_KEY"),
        (403, EmbedderRefusedError, "ATOM_MEMORY__EMBEDDER_KEY"),
        (404, EmbedderRefusedError, "ATOM_MEMORY__EMBEDDER_MODEL"),
        (302, EmbedderRefusedError, "ATOM_MEMORY__EMBEDDER_URL"),
        (400, EmbedderInputError, "ATOM_MEMORY__EMBEDDER_MODEL"),
        (422, EmbedderInputError, "ATOM_MEMORY__EMBEDDER_MODEL"),
    ],
)
async def test_what_does_not_pass_names_the_setting_and_never_the_key(
    endpoint: EmbeddingEndpoint, status: int, kind: type[EmbedderError], setting: str
) -> None:
    endpoint.always = Answer(status, json.dumps({"error": {"message": f"no {KEY} here"}}))
    mine = embedder(endpoint)
    with pytest.raises(kind) as caught:
        await mine.embed(["x"])
    assert setting in str(caught.value)
    assert KEY not in str(caught.value) + repr(caught.value) + repr(mine)
    assert caught.value.__cause__ is None
    assert len(endpoint.asked) == 1
    await mine.aclose()


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        "[]",
        '{"data": []}',
        '{"data": [{"index": 1, "embedding": [1]}]}',
        '{"data": [{"index": 0, "embedding": []}]}',
        '{"data": [{"index": 0, "embedding": ["1"]}]}',
        '{"data": [{"index": 0, "embedding": [0, 0]}]}',
        '{"data": [{"index": 0, "embedding": [NaN, 1]}]}',
        json.dumps({"data": [{"index": 0, "embedding": [1] * 4_001}]}),
    ],
)
async def test_what_is_not_the_protocol_is_told_as_that(endpoint: EmbeddingEndpoint, body: str) -> None:
    endpoint.always = Answer(body=body)
    mine = embedder(endpoint)
    with pytest.raises(EmbedderReplyError, match="ATOM_MEMORY__EMBEDDER_URL"):
        await mine.embed(["x"])
    await mine.aclose()


async def test_vectors_of_another_length_than_before_are_refused(endpoint: EmbeddingEndpoint) -> None:
    mine = embedder(endpoint)
    await mine.embed(["x"])
    endpoint.dimensions = 32
    with pytest.raises(EmbedderReplyError, match="32 numbers after those of 64"):
        await mine.embed(["x"])
    await mine.aclose()


async def test_a_reply_without_end_is_not_read_to_its_end(
    endpoint: EmbeddingEndpoint,
) -> None:
    endpoint.always = Answer(body=" " * 1_000_000)
    mine = EndpointEmbedder(EndpointOptions(endpoint.url, "m", None, 20.0, max_bytes=100_000))
    with pytest.raises(EmbedderReplyError, match="more than 100000 bytes"):
        await mine.embed(["x"])
    await mine.aclose()


async def test_no_answer_and_no_server_are_away(endpoint: EmbeddingEndpoint) -> None:
    endpoint.always = Answer(wait=True)
    mine = embedder(endpoint, seconds=0.1)
    with pytest.raises(EmbedderAwayError, match="did not answer within"):
        await mine.embed(["x"])
    await mine.aclose()
    closed = EndpointEmbedder(EndpointOptions("http://127.0.0.1:9/v1", "m", SecretStr(KEY), 5.0))
    with pytest.raises(EmbedderAwayError, match="ATOM_MEMORY__EMBEDDER_URL"):
        await closed.embed(["x"])
    await closed.aclose()


async def test_a_key_that_no_header_takes_is_refused_before_anything_is_sent(endpoint: EmbeddingEndpoint) -> None:
    mine = embedder(endpoint, key="a b")
    with pytest.raises(EmbedderRefusedError, match="ATOM_MEMORY__EMBEDDER_KEY"):
        await mine.embed(["x"])
    assert endpoint.asked == []
