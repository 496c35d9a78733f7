"""Settings from the environment: the only place that reads it.

A setting is `ATOM_<GROUP>__<NAME>`, in a group inside a group `ATOM_<GROUP>__<GROUP>__<NAME>`; the plain names that the
troubleshooting guide uses (`DATABASE_URL`, ...) mean the same settings. Settings are built once in `main` and passed
down.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from atom.errors import InvalidError
from atom.kit.redact import redact
from atom.settings.groups import Settings
from atom.settings.kinds import Group


class SettingsError(InvalidError):
    """A setting is wrong. The message names the variable, the problem and the fix, never a secret."""

    code = "settings_invalid"


PLAIN = {  # names that the guide, or every SDK of that provider, uses
    "ATOM_HOME": ("", "home"),
    "ATOM_URL": ("", "url"),
    "ATOM_TOKEN": ("", "token"),
    "DATABASE_URL": ("database", "url"),
    "DATABASE_DIRECT_URL": ("database", "direct_url"),
    "REDIS_URL": ("redis", "url"),
    "LLM_PROVIDER": ("llm", "provider"),
    "OPENAI_API_KEY": ("llm", "openai_api_key"),
    "OPENAI_BASE_URL": ("llm", "openai_base_url"),
    "ANTHROPIC_API_KEY": ("llm", "anthropic_api_key"),
    "ANTHROPIC_BASE_URL": ("llm", "anthropic_base_url"),
    "GEMINI_API_KEY": ("llm", "gemini_api_key"),
    "GEMINI_BASE_URL": ("llm", "gemini_base_url"),
}
# Kubernetes sets these in every pod beside a Service whose name begins with `atom`: not settings, and nobody's mistake.
SERVICE_LINK = re.compile(
    r"ATOM(_[A-Z0-9]+)*_(SERVICE_HOST=.*|SERVICE_PORT(_[A-Z0-9_]+)?=.*|PORT_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?=.*"
    r"|PORT=(tcp|udp|sctp)://.+)"
)


def _groups(model: type[Group], name: str = "") -> dict[str, type[Group]]:
    """Every group below this one by its name: `llm`, `llm.local`."""
    found: dict[str, type[Group]] = {}
    for part, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            inner = f"{name}.{part}" if name else part
            found |= {inner: field.annotation} | _groups(field.annotation, inner)
    return found


GROUPS = _groups(Settings)
MODELS: dict[str, type[Group]] = {"": Settings, **GROUPS}
FIELDS: dict[tuple[str, str], FieldInfo] = {  # every setting by its group and name; those of no group come first
    (group, name): field
    for group, model in MODELS.items()
    for name, field in model.model_fields.items()
    if (f"{group}.{name}" if group else name) not in GROUPS
}


@dataclass(frozen=True, slots=True)
class Origin:
    """One effective setting for people: its name, masked value, and where it came from."""

    name: str
    value: str
    source: str
    description: str


def default_home() -> Path:
    """Root has no user data directory of its own that other users may traverse: the system's is used."""
    return Path("/var/lib/atom") if os.geteuid() == 0 else Path(platformdirs.user_data_dir("atom"))


def load(environ: Mapping[str, str] | None = None, **overrides: Mapping[str, Any]) -> Settings:
    """Settings from the environment; `overrides` (group -> values, from the command line) win. Raises SettingsError."""
    values, sources = _collect(os.environ if environ is None else environ)
    for group, changes in overrides.items():
        _part(values, group).update(changes)
    values.setdefault("home", default_home())
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        said = _explain(error, sources)
        raise SettingsError(said, hint="`atom config show` lists the settings with their meaning.") from None
    return settings.model_copy(update={"home": settings.home.absolute()})


def editor_command() -> str:
    """What this person edits texts with."""
    return os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"


def passed_on(names: Iterable[str]) -> dict[str, str]:
    """Of this process's environment what a child may have, by name."""
    return {name: os.environ[name] for name in names if name in os.environ}


def take_away(prefixes: tuple[str, ...], endings: tuple[str, ...]) -> list[str]:
    """Remove variables by how their names begin or end. The names of those that were there."""
    found = sorted(name for name in os.environ if name.startswith(prefixes) or name.endswith(endings))
    for name in found:
        del os.environ[name]
    return found


def origins(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Origin]:
    """Every effective setting with its source, secrets masked."""
    _, sources = _collect(os.environ if environ is None else environ)
    rows = []
    for (group, name), field in FIELDS.items():
        part = reduce(getattr, group.split("."), settings) if group else settings
        source = sources.get((group, name), "default")
        rows.append(Origin(variable_name(group, name), _shown(getattr(part, name)), source, field.description or ""))
    return rows


def variable_name(group: str, name: str) -> str:
    return "ATOM_" + "__".join([*group.split("."), name] if group else [name]).upper()


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(redact(str(value)))  # an address may carry a password


def _collect(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[tuple[str, str], str]]:
    values: dict[str, Any] = {}
    sources: dict[tuple[str, str], str] = {}
    for variable, raw in sorted(environ.items(), key=lambda item: item[0] in PLAIN):
        text = raw.strip()  # a secret from a file or a manifest often ends with a newline
        place = PLAIN.get(variable) or _place(variable, text)
        if place is None or not text:  # an empty variable is how shells and manifests say "unset"
            continue
        group, name = place
        if place in sources:
            if _part(values, group)[name] != text:
                raise SettingsError(
                    f"{variable} and {sources[place]} are both set and differ.", hint="Set one of them."
                )
            continue
        _part(values, group)[name] = text
        sources[place] = variable
    return values, sources


def _part(values: dict[str, Any], group: str) -> dict[str, Any]:
    """The values of a group, for changing them."""
    return reduce(lambda inner, name: inner.setdefault(name, {}), group.split(".") if group else [], values)


def _place(variable: str, text: str) -> tuple[str, str] | None:
    if not variable.startswith("ATOM_") or SERVICE_LINK.fullmatch(f"{variable}={text}"):
        return None
    *groups, name = variable.removeprefix("ATOM_").lower().split("__")
    if groups and (".".join(groups), name) in FIELDS:
        return ".".join(groups), name
    known = [variable_name(*place) for place in FIELDS if place[0]] + list(PLAIN)
    near = difflib.get_close_matches(variable, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "`atom config show` lists the settings."
    raise SettingsError(f"{variable} is not a setting of Atom.", hint=hint, field=variable)


def _explain(error: ValidationError, sources: Mapping[tuple[str, str], str]) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        path = [str(part) for part in problem["loc"]]
        group, name = next(
            ((head, path[cut]) for cut in range(len(path) - 1, 0, -1) if (head := ".".join(path[:cut])) in GROUPS),
            ("", path[0]),
        )
        said = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{sources.get((group, name)) or variable_name(group, name)}: {said}.")
    return " ".join(lines)
