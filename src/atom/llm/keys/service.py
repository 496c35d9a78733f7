"""Rules of provider keys: added, changed, disabled, removed, rotated. A secret goes in and never comes out again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from pydantic import SecretStr
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from atom.events.models import EventType
from atom.events.service import Outbox
from atom.kit.ids import new_id, parse_id
from atom.kit.redact import redact
from atom.kit.text import clean
from atom.llm.choice import KEYED
from atom.llm.keys import store
from atom.llm.keys.errors import KeyExistsError, KeyInvalidError, KeyNotFoundError, RoutesInvalidError
from atom.llm.keys.models import KeyStatus, LlmRoute, ProviderKey
from atom.llm.vault.envelope import Place
from atom.llm.vault.service import Vault
from atom.settings import Provider

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PATTERN = re.compile(r"[A-Za-z0-9*?][A-Za-z0-9._:/@+*?-]{0,199}")
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
URL_NEEDED = {Provider.AZURE: "https://NAME.openai.azure.com", Provider.COMPATIBLE: "http://127.0.0.1:11434/v1"}
SWITCHES = {"streaming": ("on", "off")}  # of every provider
OPTIONS = {Provider.AZURE: frozenset({"api_version"}), Provider.BEDROCK: frozenset({"region"})}
OPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_SECRET = 4096
LEAST_TOLD = 8  # a shorter secret is in too many words by chance
MAX_MODELS = 100
MAX_ROUTES = 50
log = structlog.get_logger(service="byok")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as somebody brings it. `models`: exact names or patterns (`gpt-*`), none: every model of the provider."""

    provider: Provider
    name: str
    secret: SecretStr = field(repr=False)
    owner: str | None = None
    priority: int = 100
    models: tuple[str, ...] = ()
    base_url: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """None leaves as it is. The address of a key never changes: its secret must not be sent somewhere new."""

    secret: SecretStr | None = field(default=None, repr=False)
    owner: str | None = None
    priority: int | None = None
    models: tuple[str, ...] | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class RouteWish:
    """One line of the ordered list: `key` by name or id."""

    provider: Provider
    model: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class KeyService:
    vault: Vault
    outbox: Outbox

    async def add(self, session: AsyncSession, by: str, new: NewKey) -> ProviderKey:
        """Raises KeyInvalidError, KeyExistsError, VaultLockedError."""
        secret = _check_secret(new.secret)
        _check_places(
            secret, name=[new.name], owner=[new.owner or ""], models=new.models, base_url=[new.base_url or ""]
        )
        _check_new(new)
        id_ = new_id()
        envelope = await self.vault.seal(session, Place(str(id_), new.provider.value, 1), secret)
        values = {
            "id": id_,
            "provider": new.provider.value,
            "name": new.name,
            "owner": _owner(new.owner),
            "priority": new.priority,
            "models": _check_models(new.models),
            "base_url": new.base_url,
            "options": dict(new.options),
            "status": KeyStatus.ACTIVE.value,
            "version": 1,
            "envelope": envelope,
            "kek_id": envelope["kek_id"],
            "fingerprint": await self.vault.fingerprint(session, secret),
            "created_by": by,
            "created_at": func.now(),
        }
        if not await store.add(session, values):
            raise KeyExistsError(new.name)
        key = await self.get(session, str(id_))
        await self._tell(session, EventType.KEY_ADDED, key, by)
        return key

    async def get(self, session: AsyncSession, ref: str) -> ProviderKey:
        """By id or name. Raises KeyNotFoundError."""
        id_ = parse_id(ref)
        key = await store.get(session, id_) if id_ else await store.by_name(session, ref)
        if key is None:
            raise KeyNotFoundError(ref)
        return key

    async def page(self, session: AsyncSession, *, after: UUID | None, limit: int) -> Sequence[ProviderKey]:
        return await store.page(session, after=after, limit=limit)

    async def last_uses(self, session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, datetime]:
        return await store.last_uses(session, ids)

    async def change(self, session: AsyncSession, by: str, ref: str, changes: KeyChanges) -> ProviderKey:
        _check_places("", owner=[changes.owner or ""], models=changes.models or ())
        key = await self._locked(session, ref)
        values: dict[str, Any] = {}
        if changes.owner is not None:
            values["owner"] = _owner(changes.owner)
        if changes.priority is not None:
            values["priority"] = _check_priority(changes.priority)
        if changes.models is not None:
            values["models"] = _check_models(changes.models)
        if changes.secret is not None:
            values |= await self._replaced(session, key, changes.secret)
        if changes.enabled is not None:
            status = KeyStatus.ACTIVE if changes.enabled else KeyStatus.DISABLED
            values |= {"status": status.value, "reason": None}
        if values:
            await store.change(session, key.id, values)
            key = await self.get(session, str(key.id))
            await self._tell(session, EventType.KEY_CHANGED, key, by)
        return key

    async def remove(self, session: AsyncSession, by: str, ref: str) -> UUID:
        """The id of what is removed: the row stays for the ledger; what was sealed is gone."""
        key = await self._locked(session, ref)
        await store.drop_routes_of(session, key.id)
        await store.change(session, key.id, {"removed_at": func.now(), "envelope": {}})
        await self._tell(session, EventType.KEY_REMOVED, key, by)
        return key.id

    async def refused(self, session: AsyncSession, key_id: UUID, *, version: int, reason: str) -> None:
        """The provider did not accept it. A key that was replaced or disabled meanwhile is left as it is."""
        marked = await store.mark(
            session, key_id, version=version, was=KeyStatus.ACTIVE, status=KeyStatus.REFUSED, reason=clean(reason)
        )
        if marked:
            await self._tell(session, EventType.KEY_REFUSED, await self.get(session, str(key_id)), "system:models")

    async def accepted(self, session: AsyncSession, key: ProviderKey) -> None:
        """A test of a refused key succeeded."""
        await store.mark(
            session, key.id, version=key.version, was=KeyStatus.REFUSED, status=KeyStatus.ACTIVE, reason=None
        )

    async def secret(self, session: AsyncSession, key: ProviderKey) -> SecretStr:
        """For the call of the provider, and nothing else. Raises VaultLockedError."""
        place = Place(str(key.id), key.provider, key.version)
        return SecretStr(await self.vault.unseal(session, place, key.envelope))

    async def rewrap(self, session: AsyncSession, key_id: UUID, kek_id: str) -> None:
        """One key under the current key-encryption key, if it is not yet."""
        key = await store.locked(session, key_id)
        if key is None or key.kek_id == kek_id:
            return
        place = Place(str(key.id), key.provider, key.version)
        envelope = await self.vault.rewrap(session, place, key.envelope)
        await store.change(session, key.id, {"envelope": envelope, "kek_id": envelope["kek_id"]})

    async def routes(self, session: AsyncSession) -> Sequence[LlmRoute]:
        return await store.routes(session)

    async def set_routes(self, session: AsyncSession, by: str, wishes: Sequence[RouteWish]) -> Sequence[LlmRoute]:
        """The whole ordered list; empty: the order that follows from the keys. Raises RoutesInvalidError."""
        if len(wishes) > MAX_ROUTES:
            raise RoutesInvalidError(f"routes: {len(wishes)} of them.", hint=f"At most {MAX_ROUTES}.")
        rows = [await self._route(session, number, wish) for number, wish in enumerate(wishes, 1)]
        await store.set_routes(session, rows)
        said = [f"{wish.provider}/{wish.model or ''}" for wish in wishes]
        await self.outbox.emit(session, EventType.ROUTES_CHANGED, actor=by, data={"routes": said})
        return await store.routes(session)

    async def _route(self, session: AsyncSession, number: int, wish: RouteWish) -> dict[str, Any]:
        if wish.model is not None and not MODEL.fullmatch(wish.model):
            raise RoutesInvalidError(f"routes[{number}].model: {wish.model[:80]!r} is not the name of a model.")
        key_id = None
        if wish.key is not None:
            key = await self.get(session, wish.key)
            if key.provider != wish.provider:
                raise RoutesInvalidError(
                    f"routes[{number}].key: {key.name!r} is a key of {key.provider}, not of {wish.provider}."
                )
            key_id = key.id
        return {"position": number, "provider": wish.provider.value, "model": wish.model, "key_id": key_id}

    async def _replaced(self, session: AsyncSession, key: ProviderKey, given: SecretStr) -> dict[str, Any]:
        secret = _check_secret(given)
        envelope = await self.vault.seal(session, Place(str(key.id), key.provider, key.version + 1), secret)
        return {
            "version": key.version + 1,
            "envelope": envelope,
            "kek_id": envelope["kek_id"],
            "fingerprint": await self.vault.fingerprint(session, secret),
            **({"status": KeyStatus.ACTIVE.value, "reason": None} if key.status == KeyStatus.REFUSED else {}),
        }

    async def _locked(self, session: AsyncSession, ref: str) -> ProviderKey:
        key = await store.locked(session, (await self.get(session, ref)).id)
        if key is None:
            raise KeyNotFoundError(ref)
        return key

    async def _tell(self, session: AsyncSession, type_: EventType, key: ProviderKey, by: str) -> None:
        data = {"key_id": str(key.id), "name": key.name, "provider": key.provider, "status": key.status}
        log.info("byok.key_changed", change=type_.value, key=key.name, provider=key.provider, status=key.status)
        await self.outbox.emit(session, type_, actor=by, data=data)


def _check_new(new: NewKey) -> None:
    if new.provider not in KEYED:
        known = ", ".join(KEYED)
        raise KeyInvalidError(f"provider: {new.provider} takes no key.", hint=f"One of: {known}.", field="provider")
    if not NAME.fullmatch(new.name) or parse_id(new.name):
        raise KeyInvalidError(
            f"name: {new.name[:80]!r} cannot name a key.",
            hint="1 to 64 of letters, digits, '.', '_' and '-', beginning with a letter or digit; not a UUID.",
            field="name",
        )
    _check_priority(new.priority)
    if new.base_url is not None:
        _check_url(new.base_url)
    elif new.provider in URL_NEEDED:
        raise KeyInvalidError(
            f"base_url: {new.provider} needs the address.",
            hint=f"Such as {URL_NEEDED[new.provider]} (`--url` of `atom keys add`).",
            field="base_url",
        )
    _check_options(new)


def _check_places(secret: str, **fields: Sequence[str]) -> None:
    """A key in the place of something that is shown. It is not quoted; `secret` is the one that came with it."""
    for name, values in fields.items():
        if any((len(secret) >= LEAST_TOLD and secret in value) or redact(value) != value for value in values):
            raise KeyInvalidError(
                f"{name}: it looks like a key, and everybody may see it.",
                hint="The key goes to `secret` (`atom keys add` reads it from standard input), and nowhere else.",
                field=name,
            )


def _check_options(new: NewKey) -> None:
    """A value may become a part of the address: the secret must not be sent to another host for it."""
    allowed = OPTIONS.get(new.provider, frozenset()) | SWITCHES.keys()
    unknown = set(new.options) - allowed
    if unknown:
        raise KeyInvalidError(
            f"options: {new.provider} has no {min(unknown)[:40]!r}.",
            hint=f"It has: {', '.join(sorted(allowed))}.",
            field="options",
        )
    for name, value in new.options.items():
        if not OPTION.fullmatch(value):
            raise KeyInvalidError(
                f"options: the value of {name} is not letters, digits, '.', '_' and '-'.", field="options"
            )
    for name, values in SWITCHES.items():
        given = new.options.get(name, values[0])
        if given not in values:
            raise KeyInvalidError(
                f"options: {name} cannot be {given[:40]!r}.", hint=f"It is {' or '.join(values)}.", field="options"
            )


def _owner(given: str | None) -> str | None:
    return clean(given or "").strip() or None


def _check_secret(given: SecretStr) -> str:
    secret = given.get_secret_value().strip()  # a secret made with `echo` ends in a newline
    if not secret:
        raise KeyInvalidError("secret: it is empty.", hint="Paste the provider's key.", field="secret")
    if len(secret) > MAX_SECRET:
        raise KeyInvalidError(f"secret: it is longer than {MAX_SECRET} characters.", field="secret")
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise KeyInvalidError(
            "secret: it holds a space, a control character or a letter outside ASCII.",
            hint="Paste it again.",
            field="secret",
        )
    return secret


def _check_priority(priority: int) -> int:
    if not 0 <= priority <= 1000:
        raise KeyInvalidError(f"priority: {priority}.", hint="0 (first) to 1000 (last).", field="priority")
    return priority


def _check_models(models: Sequence[str]) -> list[str]:
    if len(models) > MAX_MODELS:
        raise KeyInvalidError(f"models: {len(models)} of them.", hint=f"At most {MAX_MODELS}.", field="models")
    for model in models:
        if not PATTERN.fullmatch(model):
            raise KeyInvalidError(
                f"models: {model[:80]!r} is neither the name of a model nor a pattern such as gpt-*.", field="models"
            )
    return list(dict.fromkeys(models))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        good = good and not parts.username and not parts.password and not parts.query and not parts.fragment
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url or len(url) > 2000:
        raise KeyInvalidError(
            "base_url: it is not an http(s) address, or it carries a user, a password, a query or a fragment.",
            hint="It looks like https://host:port/v1 (`--url` of `atom keys add`).",
            field="base_url",
        )
