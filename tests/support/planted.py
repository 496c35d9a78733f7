"""The keys that the tests use, and in a campaign the canaries that stand in their places.

`make campaign` sets `PLANT_SEED` for every test file. Each place then holds a canary of its own instead of its usual
key, and `tests/support/canary_watch.py` looks for them in all that the tests leave. The shapes go round, so that no
place and no rule that hides keys by their shape is favoured. Processes that tests start read the same variable.
"""

import os
from collections.abc import Iterator
from zlib import crc32

from pydantic import SecretStr

from atom.settings import LlmSettings, Provider, Settings
from tests.support.canaries import Canary, breed

KEYED = ("OpenAI", "Anthropic")
SEED = os.environ.get("PLANT_SEED")
VAULT = ("vault 1", "vault 2", "vault 3", "vault 4")
PLACES = (
    *VAULT[:3],
    "keys over HTTP",
    *VAULT[3:],
    "OpenAI key of a process",
    "Anthropic key of a process",
    "Gemini key of a process",
    "adapters",
    "check of the vault",
    "demo on OpenAI",
    "demo on Anthropic",
    "refused in the demo",
    "first provider",
    "next provider",
    "Anthropic key of the settings",
    "OpenAI key of the settings",
    "choice",
    "provider faults",
    "keys of budgets",
)  # 20


def plants(seed: int) -> dict[str, Canary]:
    """By place. The name of a canary is the place where it is planted."""
    bred = breed(len(PLACES), seed)
    return {place: Canary(place, canary.secret) for place, canary in zip(PLACES, bred, strict=True)}


PLANTED = plants(int(SEED)) if SEED else {}


def planted(place: str, usual: str) -> str:
    """The key at this place: the usual one, except in a campaign."""
    assert place in PLACES, place
    return PLANTED[place].secret if PLANTED else usual


def base_of(name: str) -> str:
    """What the secret of a stored key of this name begins with; in a campaign one of four canaries."""
    return planted(VAULT[crc32(name.encode()) % len(VAULT)], "sk-canary")


def with_keys(settings: Settings) -> Settings:
    """An Atom with a scripted model that holds keys for others, and has no use for them."""
    if not PLANTED or settings.llm.provider is not Provider.SCRIPTED or any(has_key(settings.llm)):
        return settings
    keys = {f"{name.lower()}_api_key": SecretStr(PLANTED[f"{name} key of the settings"].secret) for name in KEYED}
    return settings.model_copy(update={"llm": settings.llm.model_copy(update={**keys, "failover": False})})


def has_key(llm: LlmSettings) -> Iterator[bool]:
    yield from (key is not None for key in (llm.openai_api_key, llm.anthropic_api_key, llm.gemini_api_key))


def keys_of_process() -> dict[str, str]:
    """In a campaign: variables for a process with a scripted model. It holds these keys and has no use for them."""
    if not PLANTED:
        return {}
    keys = {f"{name.upper()}_API_KEY": planted(f"{name} key of a process", "") for name in KEYED}
    return {**keys, "GEMINI_API_KEY": planted("Gemini key of a process", ""), "ATOM_LLM__FAILOVER": "false"}
