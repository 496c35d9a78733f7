"""How a provider is reached: at which address, with whose key."""

from dataclasses import dataclass
from uuid import UUID

from pydantic import SecretStr

from atom.settings import LlmSettings, Provider

ENVIRONMENT = "environment"
NO_SECRET = "none"  # noqa: S105 - what is sent to an endpoint that asks for no key


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What routing knows of a key: everything but the secret. `id` is None for one from the environment.

    `version` counts the secrets it had. `refused`: the provider did not accept the present one.
    """

    provider: Provider
    name: str = ENVIRONMENT
    id: UUID | None = None
    version: int = 1
    owner: str | None = None
    models: tuple[str, ...] = ()
    base_url: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    refused: bool = False

    def option(self, name: str, default: str) -> str:
        return dict(self.options).get(name, default)

    @property
    def streams(self) -> bool:
        """Whether answers are asked for in pieces at its endpoint."""
        return self.option("streaming", "on") == "on"

    @property
    def label(self) -> str:
        """For messages: what an operator looks for."""
        return f"the key {self.name!r}" if self.id else f"{self.provider.upper()}_API_KEY"


@dataclass(frozen=True, slots=True)
class Access:
    """What an adapter is made with. `key` is None for models that need none."""

    info: KeyInfo
    key: SecretStr | None = None

    @property
    def provider(self) -> Provider:
        return self.info.provider


def environment_key(settings: LlmSettings, provider: Provider) -> SecretStr | None:
    """The unnamed key of this provider."""
    found = {
        Provider.OPENAI: settings.openai_api_key,
        Provider.ANTHROPIC: settings.anthropic_api_key,
        Provider.GEMINI: settings.gemini_api_key,
    }.get(provider)
    return found if found is not None and found.get_secret_value().strip() else None


def environment_access(settings: LlmSettings, provider: Provider) -> Access:
    url = {
        Provider.OPENAI: settings.openai_base_url,
        Provider.ANTHROPIC: settings.anthropic_base_url,
        Provider.GEMINI: settings.gemini_base_url,
    }.get(provider)
    return Access(KeyInfo(provider, base_url=url), environment_key(settings, provider))
