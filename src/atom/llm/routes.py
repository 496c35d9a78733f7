"""Which provider, model and key answer, and who comes next when they cannot. Pure.

The order: what the agent or the run names; else LLM_PROVIDER; else the list of routes; else the providers that have a
key. Behind it comes the rest of the list, or of the providers, as long as failover is on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from uuid import UUID

from atom.llm.access import KeyInfo, environment_access, environment_key
from atom.llm.choice import KEYED, MODEL_NAME, Choice, choose, configured, default_model
from atom.llm.errors import ModelNotConfiguredError
from atom.settings import LlmSettings, Provider


@dataclass(frozen=True, slots=True)
class RouteLine:
    """One line of the list. Without a model: the provider's default; without a key: each permitted one in its order."""

    provider: Provider
    model: str | None = None
    key_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `amount` tokens or dollars in each window: of the deployment, of one agent, or through one key."""

    id: UUID
    scope: str
    subject: UUID | None
    unit: str
    window: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Config:
    """What people have set beside the environment, as of `version`. `keys` are in the order they are tried in."""

    version: int = 0
    keys: tuple[KeyInfo, ...] = ()
    lines: tuple[RouteLine, ...] = ()
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """Where one attempt goes."""

    provider: Provider
    model: str
    key: KeyInfo = field(repr=False)

    @property
    def name(self) -> str:
        """For people: never anything of the secret."""
        return f"{self.provider}/{self.model}" + (f" ({self.key.name})" if self.key.id else "")

    @property
    def circuit(self) -> tuple[str, str, str]:
        """What fails together: the endpoint as this key reaches it, and the model there."""
        return (self.provider.value, self.model, f"{self.key.id or ''}/{self.key.version}")


def plan(settings: LlmSettings, config: Config, wanted: str | None, requester: str | None) -> tuple[Route, ...]:
    """In the order of trying, at least one. `requester` is the actor a run works for: keys with an owner are that
    owner's only, and decide nothing for others.

    Raises ModelNotConfiguredError when what is asked for first has no key that may be used.
    """
    config = _seen_by(config, requester)
    first = first_choice(settings, config, wanted, requester)
    listed = _listed(settings, config)
    asked = wanted is not None and bool(wanted.strip())
    lead = [line for line in listed if line.provider is first.provider and not asked]
    lead = lead or [RouteLine(first.provider, first.model)]
    routes = [route for line in lead for route in _expand(settings, config, line, requester)]
    if not routes:
        raise _nothing_permitted(first)
    if settings.failover:
        rest = [line for line in listed if line not in lead]
        routes += [route for line in rest for route in _expand(settings, config, line, requester)]
    return tuple(dict.fromkeys(routes))


def first_choice(settings: LlmSettings, config: Config, wanted: str | None, requester: str | None) -> Choice:
    """What is asked first. Where nobody named a provider, it is one that has a key this requester may use: a key of
    one person, or one that is disabled, changes nothing for everybody else.

    Raises ModelNotConfiguredError.
    """
    config = _seen_by(config, requester)
    lines, keys = config.lines, config.keys
    head, slash, _ = (wanted or "").strip().partition("/")
    if settings.provider is None and not slash and head not in list(Provider):
        usable = [line for line in _listed(settings, config) if _expand(settings, config, line, requester)]
        if usable:
            offered = {line.provider for line in usable}
            lines = tuple(line for line in lines if line in usable)
            keys = tuple(key for key in keys if key.provider in offered)
    return choose(settings, wanted, keys, tuple(line.provider for line in lines))


def models_in_use(settings: LlmSettings, config: Config) -> tuple[tuple[Provider, str], ...]:
    """Every model that is named somewhere: by the defaults of the providers, the routes and the keys."""
    found = [(one, default_model(settings, one, config.keys)) for one in configured(settings, config.keys)]
    found += [(line.provider, line.model) for line in config.lines if line.model]
    found += [(key.provider, name) for key in config.keys for name in key.models if MODEL_NAME.fullmatch(name)]
    return tuple(dict.fromkeys(one for one in found if one[1]))


def permitted(key: KeyInfo, model: str, requester: str | None) -> bool:
    """Whether this key may pay for this model in the name of `requester` (`role:name`)."""
    return owned(key, requester) and fits(key, model)


def owned(key: KeyInfo, requester: str | None) -> bool:
    return key.owner is None or key.owner == (requester or "").partition(":")[2]


def fits(key: KeyInfo, model: str) -> bool:
    return not key.models or any(fnmatchcase(model, pattern) for pattern in key.models)


def _seen_by(config: Config, requester: str | None) -> Config:
    """Without the keys of others."""
    return replace(config, keys=tuple(key for key in config.keys if owned(key, requester)))


def _listed(settings: LlmSettings, config: Config) -> list[RouteLine]:
    if config.lines:
        return list(config.lines)
    having = {key.provider for key in config.keys}
    return [RouteLine(p) for p in KEYED if p in having or environment_key(settings, p) is not None]


def _expand(settings: LlmSettings, config: Config, line: RouteLine, requester: str | None) -> Sequence[Route]:
    routes = []
    for key in _keys(settings, config, line):
        model = line.model or default_model(settings, line.provider, (key,))
        if model and permitted(key, model, requester):
            routes.append(Route(line.provider, model, key))
    accepted = [route for route in routes if not route.key.refused]
    return accepted or routes  # all of them refused: the call says so, and nobody else pays


def _keys(settings: LlmSettings, config: Config, line: RouteLine) -> Iterator[KeyInfo]:
    if line.provider not in KEYED:
        yield KeyInfo(line.provider)
        return
    for key in config.keys:
        if key.provider is line.provider and line.key_id in {None, key.id}:
            yield key
    if line.key_id is None and environment_key(settings, line.provider) is not None:
        yield environment_access(settings, line.provider).info


def _nothing_permitted(first: Choice) -> ModelNotConfiguredError:
    return ModelNotConfiguredError(
        f"No key of {first.provider} may be used here for {first.model or 'any model'}.",
        hint="`atom keys list` shows each key's owner and models. A compatible endpoint needs a model by name.",
    )
