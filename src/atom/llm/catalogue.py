"""What is known of a model: its context, what it can do, what it costs. What nobody knows stays None, never zero."""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atom.llm.errors import CatalogueError
from atom.llm.ports import ChatRequest, Usage
from atom.settings import Provider

MILLION = Decimal(1_000_000)
SAMPLE = 1000  # tokens whose price stands for the others: providers charge more for each beyond a very long prompt
PRICES = {"input_usd", "output_usd", "cached_usd"}
PROVIDER_IDS = {
    Provider.OPENAI: "openai",
    Provider.ANTHROPIC: "anthropic",
    Provider.GEMINI: "google",
    Provider.AZURE: "azure",
    Provider.BEDROCK: "aws",
}
FREE = frozenset({Provider.LOCAL, Provider.SCRIPTED})  # nobody sends a bill for them
BYTES_PER_TOKEN = 3  # pessimistic for text: a reservation must not be too small
BYTES_PER_MESSAGE = 24
# Families whose every current model takes tools and images. Source: the providers' model pages.
ABLE = {
    Provider.OPENAI: ("gpt-4o*", "gpt-4.1*", "gpt-5*", "gpt-6*", "o3*", "o4*"),
    Provider.ANTHROPIC: ("claude-*",),
    Provider.GEMINI: ("gemini-*",),
    Provider.AZURE: ("gpt-4o*", "gpt-4.1*", "gpt-5*", "gpt-6*"),
}


class Facts(BaseModel):
    """Of one model. Prices are dollars for a million tokens, where the prompt is not so long that they rise."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    context_tokens: int | None = Field(default=None, gt=0)
    tools: bool | None = None
    vision: bool | None = None
    input_usd: Decimal | None = Field(default=None, ge=0)
    output_usd: Decimal | None = Field(default=None, ge=0)
    cached_usd: Decimal | None = Field(default=None, ge=0)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`overrides` are by `provider/model` pattern, the first that fits wins, field by field over what ships."""

    overrides: Mapping[str, Facts] = field(default_factory=dict)

    def facts(self, provider: Provider, model: str) -> Facts:
        shipped = _shipped(provider, model)
        own = self._override(provider, model)
        if own is None:
            return shipped
        return shipped.model_copy(update=own.model_dump(exclude_unset=True))

    def cost(self, provider: Provider, model: str, usage: Usage) -> Decimal | None:
        """Dollars, or None when the price or the usage is unknown."""
        if provider in FREE:
            return Decimal(0)
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        own = self._override(provider, model)
        if own is None or not own.model_fields_set & PRICES:
            return _shipped_cost(provider, model, usage)
        facts = self.facts(provider, model)
        if facts.input_usd is None or facts.output_usd is None:
            return None
        return _own_cost(facts.input_usd, facts.output_usd, facts.cached_usd, usage)

    def estimate(self, provider: Provider, model: str, request: ChatRequest) -> "Estimate":
        """The most one attempt is expected to use: the whole request and a reply of the greatest length."""
        tokens = estimate_tokens(request)
        usage = Usage(tokens, request.max_tokens)
        return Estimate(tokens + request.max_tokens, self.cost(provider, model, usage))

    def _override(self, provider: Provider, model: str) -> Facts | None:
        name = f"{provider}/{model}"
        return next((facts for pattern, facts in self.overrides.items() if fnmatchcase(name, pattern)), None)


@dataclass(frozen=True, slots=True)
class Estimate:
    """`usd` is None where the price is unknown."""

    tokens: int
    usd: Decimal | None


def estimate_tokens(request: ChatRequest) -> int:
    """Tokens of the request, estimated from its size. Billing goes by what the provider reports, not by this."""
    size = sum(len(tool.description) + len(json.dumps(tool.parameters)) for tool in request.tools)
    for message in request.messages:
        calls = sum(len(call.arguments) + len(call.name) for call in message.tool_calls)
        size += len(message.content.encode()) + calls + BYTES_PER_MESSAGE
    return size // BYTES_PER_TOKEN + 1


def load_catalogue(path: Path | None) -> Catalogue:
    """From a JSON object `{"provider/pattern": {facts}}`. Raises CatalogueError, which names what is wrong in it."""
    if path is None:
        return Catalogue()
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise CatalogueError(f"{path}: it is not an object.", hint=FORM)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CatalogueError(f"{path} cannot be read ({type(error).__name__}).", hint=FORM) from error
    return Catalogue({pattern: _given(path, pattern, facts) for pattern, facts in raw.items()})


def _given(path: Path, pattern: str, facts: object) -> Facts:
    try:
        return Facts.model_validate(facts)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in (pattern[:200], *problem["loc"]))
        raise CatalogueError(f"{path}: {place}: {problem['msg']}.", hint=FORM) from None


FORM = 'It looks like {"compatible/llama-*": {"context_tokens": 8192, "input_usd": "0", "output_usd": "0"}}.'


def _own_cost(input_usd: Decimal, output_usd: Decimal, cached_usd: Decimal | None, usage: Usage) -> Decimal:
    cached = usage.cached_tokens or 0
    fresh = max(0, (usage.input_tokens or 0) - cached)
    price = fresh * input_usd + cached * (input_usd if cached_usd is None else cached_usd)
    return (price + (usage.output_tokens or 0) * output_usd) / MILLION


def _shipped_cost(provider: Provider, model: str, usage: Usage) -> Decimal | None:
    provider_id = PROVIDER_IDS.get(provider)
    found = price_list().price(provider_id, model, usage) if provider_id else None
    return None if found is None else found.usd


@lru_cache(maxsize=1)
def price_list() -> Any:
    """The module with the prices. Loading it takes a tenth of a second: a thread does it before the first call."""
    return importlib.import_module("atom.llm.adapters.prices")


@lru_cache(maxsize=1000)
def _shipped(provider: Provider, model: str) -> Facts:
    able = True if any(fnmatchcase(model, pattern) for pattern in ABLE.get(provider, ())) else None
    zero = Decimal(0) if provider in FREE else None
    facts = Facts(tools=able, vision=able, input_usd=zero, output_usd=zero)
    provider_id = PROVIDER_IDS.get(provider)
    found = price_list().price(provider_id, model, Usage(SAMPLE, 0)) if provider_id else None
    if found is None:
        return facts
    return facts.model_copy(
        update={
            "context_tokens": found.context_tokens,
            "input_usd": _for_a_million(found.usd),
            "output_usd": _for_a_million(_shipped_cost(provider, model, Usage(0, SAMPLE))),
            "cached_usd": _for_a_million(_shipped_cost(provider, model, Usage(SAMPLE, 0, SAMPLE))),
        }
    )


def _for_a_million(usd: Decimal | None) -> Decimal | None:
    return None if usd is None else Decimal(f"{(usd * (MILLION / SAMPLE)).normalize():f}")
