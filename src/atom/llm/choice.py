"""Which provider and which model answer, decided from the settings alone, with the reason to show."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from atom.kit.redact import redact
from atom.llm.access import KeyInfo, environment_key
from atom.llm.errors import ModelNotConfiguredError
from atom.settings import LlmSettings, Provider

LOCAL_MODEL = "smollm2-135m-instruct"
SCRIPTED_MODEL = "scripted"
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._:@+-]")
MAX_FILE_NAME = 150
KEYED = (  # in the order in which a key decides
    Provider.OPENAI, Provider.ANTHROPIC, Provider.GEMINI, Provider.AZURE, Provider.BEDROCK, Provider.COMPATIBLE,
)  # fmt: skip
IN_ENVIRONMENT = frozenset({Provider.OPENAI, Provider.ANTHROPIC, Provider.GEMINI})
FORMS = (
    "Write provider/model (openai/NAME, anthropic/NAME, gemini/NAME, compatible/NAME), a provider, or a model's name."
)


@dataclass(frozen=True, slots=True)
class Choice:
    """`reason` is a phrase for the screen and the run: why it is this one."""

    provider: Provider
    model: str
    reason: str

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"


def choose(
    settings: LlmSettings, wanted: str | None = None, keys: Sequence[KeyInfo] = (), listed: Sequence[Provider] = ()
) -> Choice:
    """`wanted` is what the agent or the run names, if anything; `listed` the providers of the list of routes.

    Raises ModelNotConfiguredError.
    """
    if wanted is None or not wanted.strip():
        provider, reason = _preferred(settings, keys, listed)
        choice = Choice(provider, default_model(settings, provider, keys), reason)
    else:
        choice = _explicit(settings, wanted.strip(), keys, listed)
    _require(settings, choice.provider, keys)
    return choice


def configured(settings: LlmSettings, keys: Sequence[KeyInfo] = ()) -> tuple[Provider, ...]:
    """The providers that have what they need. The local one is always offered; its weights are looked for when used."""
    keyed = tuple(provider for provider in KEYED if _has_key(settings, provider, keys))
    scripted = (Provider.SCRIPTED,) if settings.scripted_path is not None else ()
    return (*keyed, *scripted, Provider.LOCAL)


def default_model(settings: LlmSettings, provider: Provider, keys: Sequence[KeyInfo] = ()) -> str:
    """The model asked when none is named. Where the provider has no usual one: the first exact name among the models
    of its first key; empty when there is none either."""
    usual = {
        Provider.OPENAI: settings.openai_model,
        Provider.ANTHROPIC: settings.anthropic_model,
        Provider.GEMINI: settings.gemini_model,
        Provider.LOCAL: local_model(settings),
        Provider.SCRIPTED: SCRIPTED_MODEL,
    }.get(provider)
    if usual is not None:
        return usual
    names = [name for key in keys if key.provider is provider for name in key.models if MODEL_NAME.fullmatch(name)]
    return names[0] if names else ""


def local_model(settings: LlmSettings) -> str:
    """The one model of the local provider: the operator's file by its name, else the demo model."""
    path = settings.local.model_path
    if path is None:
        return LOCAL_MODEL
    name = NOT_IN_NAMES.sub("-", path.stem)[:MAX_FILE_NAME]
    return name if MODEL_NAME.fullmatch(name) else f"model{name}"  # it must begin with a letter or a digit


def _preferred(settings: LlmSettings, keys: Sequence[KeyInfo], listed: Sequence[Provider]) -> tuple[Provider, str]:
    if settings.provider is not None:
        return settings.provider, f"LLM_PROVIDER={settings.provider}"
    if listed:
        return listed[0], "it is the first of the routes"
    for provider in KEYED:
        if environment_key(settings, provider) is not None:
            return provider, f"{_key_variable(provider)} is set"
        if any(key.provider is provider for key in keys):
            return provider, "there is a key for it"
    return Provider.LOCAL, "no key is set"


def _explicit(settings: LlmSettings, wanted: str, keys: Sequence[KeyInfo], listed: Sequence[Provider]) -> Choice:
    reason = f"the model {wanted} is asked for"
    if wanted in list(Provider):
        provider = Provider(wanted)
        return Choice(provider, default_model(settings, provider, keys), reason)
    if redact(wanted) != wanted:
        raise ModelNotConfiguredError("What is given as a model looks like a key: it was not kept.", hint=FORMS)
    if MODEL_NAME.fullmatch(wanted) is None:
        raise ModelNotConfiguredError(f"{wanted[:80]!r} is not the name of a model.", hint=FORMS)
    head, slash, rest = wanted.partition("/")
    if slash and head not in list(Provider):
        raise ModelNotConfiguredError(
            f"{head!r} in the model name {wanted[:80]!r} is not a provider.",
            hint=f"{FORMS} For a name with a slash of an OpenAI-compatible endpoint: openai/{wanted[:80]}.",
        )
    provider = Provider(head) if slash else _preferred(settings, keys, listed)[0]
    model = rest if slash else wanted
    if provider is Provider.LOCAL and model != (only := local_model(settings)):
        raise ModelNotConfiguredError(
            f"The local provider has one model, {only}; {model!r} is not it.",
            hint=f"Write openai/{model} or anthropic/{model} and set that provider's key, or use local.",
        )
    if not model:
        raise ModelNotConfiguredError(f"{wanted!r} names a provider and no model.", hint=FORMS)
    return Choice(provider, model, reason)


def _require(settings: LlmSettings, provider: Provider, keys: Sequence[KeyInfo]) -> None:
    if provider in KEYED and not _has_key(settings, provider, keys):
        if provider not in IN_ENVIRONMENT:
            raise ModelNotConfiguredError(
                f"There is no key for {provider}, and it was chosen.", hint=f"`atom keys add {provider} NAME` adds one."
            )
        raise ModelNotConfiguredError(
            f"{_key_variable(provider)} is not set, and {provider} was chosen.",
            hint="Set it (any value for an endpoint that needs no key), choose another provider, or store a key:"
            f" `atom keys add {provider} NAME`.",
        )
    if provider is Provider.SCRIPTED and settings.scripted_path is None:
        raise ModelNotConfiguredError(
            "ATOM_LLM__SCRIPTED_PATH is not set, and scripted was chosen.",
            hint="Name the JSON file with its replies; it is for tests and drills.",
        )


def _has_key(settings: LlmSettings, provider: Provider, keys: Sequence[KeyInfo]) -> bool:
    return environment_key(settings, provider) is not None or any(key.provider is provider for key in keys)


def _key_variable(provider: Provider) -> str:
    return f"{provider.upper()}_API_KEY"
