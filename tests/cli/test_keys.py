"""A key at the command line: where it is read from, and that one in a wrong place is not said again."""

from collections.abc import Callable
from typing import Any

import pytest

Cli = Callable[..., Any]
KEY = "sk-canary-0123456789"
MISPLACED = {
    "as an argument": ["keys", "add", "openai", "team-a", KEY],
    "as an argument, of a provider whose keys look like nothing": ["keys", "add", "compatible", "team-a", "f00ba2quux"],
    "as an argument of a change": ["keys", "update", "team-a", "--new-secret", "f00ba2quux"],
    "as the provider": ["keys", "add", KEY, "team-a"],
    "as an option": ["keys", "add", "openai", "team-a", f"--key={KEY}"],
    "as the priority": ["keys", "add", "openai", "team-a", "--priority", KEY],
    "as a window": ["keys", "budget", "5", "--window", KEY],
    "as a command": ["keys", KEY],
}


@pytest.mark.parametrize("where", MISPLACED)
def test_a_key_in_a_wrong_place_is_refused_and_not_quoted(cli: Cli, where: str) -> None:
    done = cli(*MISPLACED[where], stdin=b"sk-other-0123456789\n")
    assert done.code == 2, done
    assert not any(part in done.out + done.err for part in ("canary", "f00ba2", "quux", "other"))


@pytest.mark.parametrize(
    ("stdin", "told"),
    [
        (b"", "Standard input holds no key."),
        (b" \r\n\t", "Standard input holds no key."),
        (b"\xff\xfes\x00k\x00-\x00", "Standard input is not UTF-8"),
        (b"a" * 200_000, "Standard input is longer than 10000 bytes"),
    ],
)
@pytest.mark.parametrize("command", [["add", "openai", "team-a"], ["update", "team-a", "--new-secret"]])
def test_what_is_no_key_is_refused_before_anything_is_sent(
    cli: Cli, command: list[str], stdin: bytes, told: str
) -> None:
    done = cli("keys", *command, stdin=stdin)
    assert (done.code, told in done.err) == (2, True), done
    assert f"hint: atom keys {' '.join(command)} < key.txt" in done.err


@pytest.mark.parametrize("route", ["opnai/gpt-5", "", "@team-a", "/gpt-5", "OpenAI"])
def test_a_route_that_is_none_is_quoted_with_its_form(cli: Cli, route: str) -> None:
    done = cli("keys", "routes", "openai", route)
    assert (done.code, f"error: Route {route!r}: " in done.err, "PROVIDER[/MODEL][@KEY]" in done.err) == (2, True, True)


def test_a_list_is_not_set_and_cleared_at_once(cli: Cli) -> None:
    done = cli("keys", "routes", "openai", "--clear")
    assert (done.code, "Routes and --clear: give one of them." in done.err) == (2, True)
