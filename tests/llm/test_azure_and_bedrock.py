"""Azure and Bedrock on the wire: where they are asked, how they are told who asks, and what their failures become."""

import importlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr

from atom.kit.ids import new_id
from atom.llm.access import Access, KeyInfo
from atom.llm.errors import (
    ModelAuthError,
    ModelError,
    ModelNotConfiguredError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelUnavailableError,
    TruncatedReplyError,
)
from atom.llm.ports import ChatModel, ChatRequest, Completion, Usage
from atom.llm.testing import CannedProvider, ask, http, sse
from atom.settings import LlmSettings, Provider

AZURE_KEY = "0d9f6a7c31e84b52a7c1f0e9d8b6a543"
BEDROCK_KEY = "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlLWF0LTEyMw"
ACCESS, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
CALLS = [{"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}} for n in (1, 2)]
Build = Callable[..., ChatModel]


def answer(*, stream: bool) -> bytes:
    """Azure's streams begin with an event that has no choices."""
    message = {"content": "Hello.", "tool_calls": [{"index": n, **call} for n, call in enumerate(CALLS)]}
    if not stream:
        return http(200, {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": USAGE})
    return sse(
        {"choices": [], "model": "", "prompt_filter_results": [{"prompt_index": 0}]},
        {"choices": [{"delta": message, "content_filter_results": {}}], "model": "gpt"},
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
        {"choices": [], "usage": USAGE},
        "data: [DONE]\n\n",
    )


@pytest_asyncio.fixture
async def build() -> AsyncIterator[Build]:
    opened: list[ChatModel] = []

    def make(provider: Provider, url: str | None, secret: str, options: Mapping[str, str] | None = None) -> ChatModel:
        pairs = tuple((options or {}).items())
        info = KeyInfo(provider, name="mine", id=new_id(), base_url=url, options=pairs)
        module = importlib.import_module(f"atom.llm.adapters.{provider}")
        model: ChatModel = module.build(Access(info, SecretStr(secret)), LlmSettings())
        opened.append(model)
        return model

    yield make
    for model in opened:
        await model.aclose()


async def read(model: ChatModel, *, stream: bool, name: str = "my-deployment") -> Completion:
    request: ChatRequest = replace(ask("x", model=name), stream=stream)
    items = [item async for item in model.stream(request)]
    assert isinstance(items[-1], Completion)
    return items[-1]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("options", "version"), [({}, "2025-04-01-preview"), ({"api_version": "2024-10-21"}, "2024-10-21")]
)
async def test_azure_asks_the_deployment_with_the_version_and_its_own_header(
    stream: bool, options: dict[str, str], version: str, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_API_KEY", "OPENAI_API_VERSION", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.setenv(name, "https://another.example")
    async with CannedProvider([[answer(stream=stream)]]) as azure:
        reply = await read(build(Provider.AZURE, azure.url + "/", AZURE_KEY, options), stream=stream)
    assert (reply.text, reply.provider, len(reply.tool_calls)) == ("Hello.", Provider.AZURE, 2)
    assert reply.usage == Usage(7, 2, 4)
    assert azure.targets == [f"POST /openai/deployments/my-deployment/chat/completions?api-version={version}"]
    assert azure.headers[0]["api-key"] == AZURE_KEY
    assert "authorization" not in azure.headers[0]
    assert "another.example" not in repr(azure.headers)
    (sent,) = azure.requests
    assert (sent["stream"], "stream_options" in sent, "max_tokens" in sent) == (stream, stream, False)
    assert sent["max_completion_tokens"] == 4096


@pytest.mark.parametrize("stream", [True, False])
async def test_azure_of_an_older_version_is_given_the_older_name(stream: bool, build: Build) -> None:
    said = {"error": {"message": "Unrecognized request argument supplied: max_completion_tokens", "code": None}}
    async with CannedProvider([[http(400, said)], [answer(stream=stream)]]) as azure:
        await read(build(Provider.AZURE, azure.url, AZURE_KEY), stream=stream)
    assert ["max_tokens" in sent for sent in azure.requests] == [False, True]


@pytest.mark.parametrize("stream", [True, False])
async def test_bedrock_takes_an_api_key_as_bearer(stream: bool, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "another-key")
    async with CannedProvider([[answer(stream=stream)]]) as bedrock:
        model = build(Provider.BEDROCK, bedrock.url + "/openai/v1", BEDROCK_KEY, {"region": "eu-west-1"})
        reply = await read(model, stream=stream, name="openai.gpt-oss-20b-1:0")
    assert (reply.text, reply.provider, reply.usage) == ("Hello.", Provider.BEDROCK, Usage(7, 2, 4))
    assert bedrock.targets == ["POST /openai/v1/chat/completions"]
    assert bedrock.headers[0]["authorization"] == f"Bearer {BEDROCK_KEY}"
    (sent,) = bedrock.requests
    assert (sent["model"], sent["max_tokens"], sent["stream"]) == ("openai.gpt-oss-20b-1:0", 4096, stream)


@pytest.mark.parametrize("stream", [True, False])
async def test_bedrock_signs_with_the_keys_of_an_iam_user(stream: bool, build: Build) -> None:
    async with CannedProvider([[answer(stream=stream)]]) as bedrock:
        model = build(Provider.BEDROCK, bedrock.url + "/openai/v1", f"{ACCESS}:{SECRET}", {"region": "eu-west-1"})
        reply = await read(model, stream=stream)
    assert reply.text == "Hello."
    signature = bedrock.headers[0]["authorization"]
    assert re.match(rf"AWS4-HMAC-SHA256 Credential={ACCESS}/\d{{8}}/eu-west-1/", signature)
    assert SECRET not in repr(bedrock.headers) + repr(bedrock.requests)


def test_bedrock_says_what_is_wrong_with_a_region(build: Build) -> None:
    with pytest.raises(ModelNotConfiguredError, match="region"):
        build(Provider.BEDROCK, None, BEDROCK_KEY, {"region": "nowhere"})


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("provider", "secret"),
    [(Provider.AZURE, AZURE_KEY), (Provider.BEDROCK, BEDROCK_KEY), (Provider.BEDROCK, f"{ACCESS}:{SECRET}")],
)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ModelRequestError), (401, ModelAuthError), (403, ModelAuthError), (404, ModelRequestError),
        (408, ModelUnavailableError), (429, ModelRateLimitedError), (503, ModelUnavailableError),
    ],
)  # fmt: skip
async def test_failures_have_their_class_and_no_key_in_them(
    provider: Provider, secret: str, stream: bool, status: int, kind: type[ModelError], build: Build
) -> None:
    parts = secret.split(":")
    said: dict[str, Any] = {
        "error": {"code": str(status), "message": f"Access denied for {secret}: {' and '.join(parts)}."}
    }
    async with CannedProvider([[http(status, said, {"retry-after": "3"})]]) as place:
        with pytest.raises(ModelError) as caught:
            await read(build(provider, place.url, secret), stream=stream)
    error = caught.value
    assert (type(error), error.provider, error.status) == (kind, provider, status)
    assert error.retry_after == (3.0 if status in {408, 429, 503} else None)
    assert not [part for part in parts if part in str(error) + repr(error.details)]
    assert len(place.requests) == 1


@pytest.mark.parametrize("provider", [Provider.AZURE, Provider.BEDROCK])
@pytest.mark.parametrize("stream", [True, False])
async def test_reply_without_an_end_is_truncated(provider: Provider, stream: bool, build: Build) -> None:
    half = {"delta": {"content": "half"}, "message": {"content": "half"}}
    wire = sse({"choices": [half]}) if stream else http(200, {"choices": [half]})
    async with CannedProvider([[wire]]) as place:
        with pytest.raises(TruncatedReplyError):
            await read(build(provider, place.url, AZURE_KEY), stream=stream)
