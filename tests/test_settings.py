"""Settings come from the environment by exact names; a wrong one stops the start and says which, never what it was."""

import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from atom.settings import FIELDS, PLAIN, Provider, SettingsError, load, origins, variable_name
from tests.support.planted import planted

CANARY = planted("Anthropic key of the settings", "hunter2Canary9XyZ")
URL = f"postgresql://atom:{CANARY}@db/atom"
EVERY = [(group, name) for group, name in FIELDS if group]


def said(error: BaseException) -> str:
    """All that could reach a person: the message, and a traceback in a log."""
    return str(error) + "".join(traceback.format_exception(error))


def refusal(environ: dict[str, str]) -> SettingsError | None:
    """Any environment gives settings or a SettingsError."""
    try:
        load(environ)
    except SettingsError as error:
        return error
    return None


def test_nothing_set_gives_the_documented_defaults() -> None:
    settings = load({})
    assert (settings.database.pool_size, settings.database.max_overflow) == (20, 10)
    assert settings.database.url is None
    assert settings.redis.url is None
    assert settings.llm.provider is None
    assert settings.llm.timeout == 60
    assert (settings.web.host, settings.web.port) == ("127.0.0.1", 8000)
    assert settings.home.is_absolute()


@pytest.mark.parametrize(
    ("variable", "text", "group", "name", "value"),
    [
        ("ATOM_DATABASE__POOL_SIZE", "7", "database", "pool_size", 7),
        ("ATOM_DATABASE__POOL_TIMEOUT", " 2.5\n", "database", "pool_timeout", 2.5),
        ("ATOM_DATABASE__BUDGET", "refuse", "database", "budget", "refuse"),
        ("ATOM_DATABASE__PREPARED_STATEMENTS", "false", "database", "prepared_statements", False),
        ("ATOM_WEB__METRICS_PUBLIC", "no", "web", "metrics_public", False),
        ("ATOM_WEB__ALLOWED_HOSTS", " a.example , ,b.example:8,", "web", "allowed_hosts", ("a.example", "b.example:8")),
        ("ATOM_LOGGING__LEVEL", "debug", "logging", "level", "debug"),
        ("ATOM_LOGGING__FILE", "/var/log/atom/atom.log", "logging", "file", Path("/var/log/atom/atom.log")),
        ("ATOM_LLM__PROVIDER", "anthropic", "llm", "provider", Provider.ANTHROPIC),
        ("LLM_PROVIDER", "openai", "llm", "provider", Provider.OPENAI),
        ("ATOM_TOOLS__HTTP_ALLOW", "*,internal:wiki.corp:80,10.1.2.3:8080", "tools", "http_allow",
         ("*", "internal:wiki.corp:80", "10.1.2.3:8080")),
        ("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1", "llm", "openai_base_url", "http://127.0.0.1:11434/v1"),
    ],
)  # fmt: skip
def test_variable_sets_its_field(variable: str, text: str, group: str, name: str, value: Any) -> None:
    assert getattr(getattr(load({variable: text}), group), name) == value


@pytest.mark.parametrize(("plain", "place"), PLAIN.items())
def test_plain_name_means_the_same_setting_as_the_long_one(plain: str, place: tuple[str, str]) -> None:
    text = "https://host/v1" if plain.endswith("_BASE_URL") else "openai" if plain == "LLM_PROVIDER" else "/srv/x"
    short, long = load({plain: text}), load({variable_name(*place): text})
    assert short == long
    assert short != load({"ATOM_HOME": "/elsewhere"})


def test_a_group_inside_a_group_is_set_by_all_names_on_the_way() -> None:
    environ = {"ATOM_LLM__LOCAL__MODEL_PATH": "~/m.gguf", "ATOM_LLM__LOCAL__THREADS": "3", "ATOM_LLM__ATTEMPTS": "2"}
    settings = load(environ)
    assert settings.llm.local.model_path == Path("~/m.gguf").expanduser()
    assert (settings.llm.local.threads, settings.llm.local.context_tokens, settings.llm.attempts) == (3, 8192, 2)
    rows = {row.name: (row.value, row.source) for row in origins(settings, environ)}
    assert rows["ATOM_LLM__LOCAL__THREADS"] == ("3", "ATOM_LLM__LOCAL__THREADS")
    assert rows["ATOM_LLM__LOCAL__CONTEXT_TOKENS"] == ("8192", "default")
    assert "ATOM_LLM__LOCAL" not in rows
    assert load({}, **{"llm.local": {"threads": 4}}).llm.local.threads == 4


@pytest.mark.parametrize(
    "variable", ["ATOM_LLM__LOCAL", "ATOM_LLM__LOCAL__", "ATOM_LOCAL__THREADS", "ATOM_LLM__LOCAL__X__THREADS"]
)
def test_a_group_itself_and_half_a_way_are_no_settings(variable: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} is not a setting of Atom"):
        load({variable: "1"})


def test_both_names_with_one_value_agree_and_with_two_are_refused() -> None:
    assert load({"DATABASE_URL": URL, "ATOM_DATABASE__URL": URL}).database.url is not None
    with pytest.raises(SettingsError) as caught:
        load({"DATABASE_URL": URL, "ATOM_DATABASE__URL": f"{URL}2"})
    assert "DATABASE_URL and ATOM_DATABASE__URL are both set and differ" in str(caught.value)
    assert CANARY not in said(caught.value)


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("ATOM_DATABASE__POOLSIZE", "ATOM_DATABASE__POOL_SIZE"),
        ("ATOM_DATABSE__POOL_SIZE", "ATOM_DATABASE__POOL_SIZE"),
        ("ATOM_DATABASE_POOL_SIZE", "ATOM_DATABASE__POOL_SIZE"),
        ("ATOM_LOG__LEVEL", "ATOM_LOGGING__LEVEL"),
        ("ATOM_HOEM", "ATOM_HOME"),
        ("ATOM_TOKENS", "ATOM_TOKEN"),
        ("ATOM_PORT", "ATOM_"),
    ],
)
def test_unknown_name_stops_the_start_and_the_near_one_is_offered(variable: str, near: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({variable: CANARY})
    assert f"{variable} is not a setting of Atom" in caught.value.message
    assert near in caught.value.hint
    assert CANARY not in said(caught.value)


def test_unknown_name_far_from_any_points_to_the_list() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"ATOM_QQQQ__ZZZZZZ": "1"})
    assert "atom config show" in caught.value.hint


def test_variables_of_others_are_none_of_our_business() -> None:
    assert load({"PATH": "/bin", "ATOMIC": "1", "PGHOST": "db", "atom_home": "/x"}) == load({})


def test_what_kubernetes_puts_beside_a_service_named_atom_is_no_setting() -> None:
    """Service links of `atom`, `atom-postgres` and `atom-websocket`; a mistaken ATOM_PORT=9000 is still told."""
    links = {
        "ATOM_SERVICE_HOST": "10.0.0.7",
        "ATOM_SERVICE_PORT": "8000",
        "ATOM_SERVICE_PORT_HTTP": "8000",
        "ATOM_PORT": "tcp://10.0.0.7:8000",
        "ATOM_PORT_8000_TCP": "tcp://10.0.0.7:8000",
        "ATOM_PORT_8000_TCP_PROTO": "tcp",
        "ATOM_PORT_8000_TCP_PORT": "8000",
        "ATOM_PORT_8000_TCP_ADDR": "10.0.0.7",
        "ATOM_POSTGRES_SERVICE_HOST": "10.0.0.8",
        "ATOM_POSTGRES_PORT": "tcp://10.0.0.8:5432",
        "ATOM_WEBSOCKET_PORT_8000_UDP_ADDR": "10.0.0.9",
    }
    assert load(links) == load({})
    with pytest.raises(SettingsError):
        load({"ATOM_PORT": "9000"})
    with pytest.raises(SettingsError, match="ATOM_WEB__PORT"):
        load({"ATOM_WEB__PORT": "tcp://10.0.0.7:8000"})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ATOM_DATABASE__POOL_SIZE", "many"),
        ("ATOM_DATABASE__POOL_SIZE", "0"),
        ("ATOM_DATABASE__POOL_SIZE", "501"),
        ("ATOM_DATABASE__POOL_SIZE", "2.5"),
        ("ATOM_DATABASE__POOL_TIMEOUT", "nan"),
        ("ATOM_RUNS__WALL_SECONDS", "inf"),
        ("ATOM_DATABASE__BUDGET", "ignore"),
        ("ATOM_WEB__PORT", "65536"),
        ("ATOM_WEB__METRICS_PUBLIC", "perhaps"),
        ("ATOM_LOGGING__LEVEL", "INFO2"),
        ("LLM_PROVIDER", "skynet"),
        ("ATOM_LLM__PROVIDER", "skynet"),
        ("ATOM_HOME", "~nobody-of-that-name/atom"),
        ("ATOM_SANDBOX__INDEX", "http://packages.example.com/all"),
        ("ATOM_SANDBOX__INDEX", "ftp://127.0.0.1/all"),
        ("ATOM_SANDBOX__INDEX", "https://a.example/all -f /tmp"),
        ("ATOM_SANDBOX__INDEX", "https:///all"),
    ],
)
def test_bad_value_is_refused_under_the_name_that_was_set(variable: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({variable: text})
    assert caught.value.message.startswith(f"{variable}: ")
    assert caught.value.code == "settings_invalid"


def test_every_bad_value_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"ATOM_WEB__PORT": "x", "ATOM_RUNS__MAX_TURNS": "0"})
    assert "ATOM_WEB__PORT: " in caught.value.message
    assert "ATOM_RUNS__MAX_TURNS: " in caught.value.message


@pytest.mark.parametrize(("group", "name"), EVERY)
def test_no_message_repeats_the_value_it_refuses(group: str, name: str) -> None:
    """Whatever field it was meant for: a secret pasted into the wrong variable must not reach a log."""
    refused = refusal({variable_name(group, name): CANARY})
    assert refused is None or (CANARY not in said(refused) and variable_name(group, name) in str(refused))


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_empty_variable_is_an_unset_one(text: str) -> None:
    assert load(dict.fromkeys([variable_name(*place) for place in EVERY] + list(PLAIN), text)) == load({})


def test_secret_loses_the_newline_of_its_file() -> None:
    key = load({"OPENAI_API_KEY": f"{CANARY}\n"}).llm.openai_api_key
    assert key is not None
    assert key.get_secret_value() == CANARY


def test_settings_are_frozen_and_a_wrong_field_is_an_error() -> None:
    settings = load({})
    with pytest.raises(ValidationError):
        settings.web.port = 1
    with pytest.raises(SettingsError):
        load({}, web={"prot": 1})
    with pytest.raises(SettingsError):
        load({}, wbe={"port": 1})


def test_command_line_wins_over_the_environment() -> None:
    assert load({"ATOM_WEB__PORT": "9000"}, web={"port": 9001}).web.port == 9001


@pytest.mark.parametrize("text", ["~/atom", "relative/atom"])
def test_home_becomes_an_absolute_path(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    home = load({"ATOM_HOME": text}).home
    assert home.is_absolute()
    assert "~" not in str(home)


def test_tilde_works_in_every_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    settings = load({"ATOM_LOGGING__FILE": "~/atom.log", "ATOM_LLM__SCRIPTED_PATH": "~/replies.json"})
    assert settings.logging.file == Path("/home/someone/atom.log")
    assert settings.llm.scripted_path == Path("/home/someone/replies.json")


def test_origins_name_each_setting_once_with_its_source_and_no_secret() -> None:
    environ = {
        "DATABASE_URL": URL,
        "ATOM_TOKEN": CANARY,
        "OPENAI_API_KEY": CANARY,
        "ATOM_WEB__PORT": "9000",
        "OPENAI_BASE_URL": f"https://user:{CANARY}@proxy/v1",
        "REDIS_URL": f"redis://:{CANARY}@cache/0",
    }
    rows = origins(load(environ), environ)
    by_name = {row.name: row for row in rows}
    assert len(by_name) == len(rows)
    assert set(by_name) >= {variable_name(*place) for place in EVERY} | {"ATOM_HOME", "ATOM_URL", "ATOM_TOKEN"}
    assert by_name["ATOM_DATABASE__URL"].source == "DATABASE_URL"
    assert by_name["ATOM_DATABASE__URL"].value == "********"
    assert (by_name["ATOM_WEB__PORT"].value, by_name["ATOM_WEB__PORT"].source) == ("9000", "ATOM_WEB__PORT")
    assert by_name["ATOM_DATABASE__POOL_SIZE"].source == "default"
    assert CANARY not in repr(rows)
    assert all(row.description for row in rows)


def test_settings_show_no_secret_when_printed() -> None:
    settings = load({"DATABASE_URL": URL, "OPENAI_API_KEY": CANARY, "ATOM_TOKEN": CANARY})
    assert CANARY not in repr(settings) + str(settings) + settings.model_dump_json()


@given(
    st.dictionaries(st.sampled_from([variable_name(*p) for p in EVERY] + list(PLAIN)), st.text(max_size=20), max_size=4)
)
def test_any_environment_gives_settings_or_a_settings_error(environ: dict[str, str]) -> None:
    refused = refusal(environ)
    assert refused is None or any(variable in str(refused) for variable in environ)


@given(st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789", max_size=30))
def test_any_unknown_name_is_answered_with_its_name(suffix: str) -> None:
    refused = refusal({f"ATOM_{suffix}": "1"})
    assert refused is None or f"ATOM_{suffix}" in str(refused)
