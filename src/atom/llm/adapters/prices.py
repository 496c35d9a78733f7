"""What providers charge, from the offline price list of genai-prices. Slow to import: only where it is used."""

from dataclasses import dataclass
from decimal import Decimal

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from atom.llm.ports import Usage


@dataclass(frozen=True, slots=True)
class Listed:
    """Dollars, and the context in tokens where the list has it."""

    usd: Decimal
    context_tokens: int | None


def price(provider_id: str, model: str, usage: Usage) -> Listed | None:
    """None for a model that the list does not have."""
    priced = PricedUsage(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cache_read_tokens=usage.cached_tokens or 0
    )
    try:
        found = calc_price(priced, model, provider_id=provider_id)
    except (LookupError, ValueError):
        return None
    return Listed(found.total_price, found.model.context_window)
