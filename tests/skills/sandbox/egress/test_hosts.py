"""Which hosts a program may ask for, and which of them a name is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.errors import InvalidError
from atom.infra.egress_address import EgressDeniedError, parse_target
from atom.skills.sandbox import hosts
from atom.skills.sandbox.models import NEEDS, Guarantee, Language, Level, Spec

LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "example"]))
PORT = st.integers(1, 65_535)


def allows(entry: str, host: str, port: int) -> bool:
    try:
        hosts.policy([entry]).zone(parse_target(f"https://{host}:{port}/"))
    except EgressDeniedError:
        return False
    return True


def spec(*names: str) -> Spec:
    return Spec(Language.PYTHON, "main", {"main": b""}, hosts=names)


@pytest.mark.parametrize(
    "entry",
    [
        "", "*", "*.", "*.com", "localhost", "wiki", "*.internal", "db.internal", "printer.local", "127.0.0.1",
        "10.0.0.1:80", "[::1]", "[::1]:443", "0x7f.1", "2130706433", "169.254.169.254", "metadata.google.internal",
        "internal:wiki.example.com", "http://example.com", "example.com/path", "user@example.com", "example.com:0",
        "example.com:65536", "example.com:http", "a..example.com", "**.example.com", "a.*.example.com", "*example.com",
        "*.*.example.com", "exa mple.com", "example.com\n", "x" * 300 + ".com", "example.com:443:443",
    ],
)  # fmt: skip
def test_an_entry_that_is_no_public_host_is_refused_and_the_field_named(entry: str) -> None:
    with pytest.raises(InvalidError) as raised:
        spec(entry)
    assert raised.value.details["field"] == "hosts"


def test_the_number_of_hosts_is_bounded() -> None:
    with pytest.raises(InvalidError, match="64 hosts"):
        spec(*(f"h{number}.example.com" for number in range(65)))


def test_hosts_change_what_is_needed_and_nothing_else_does() -> None:
    assert spec().needs == NEEDS
    assert Guarantee.NET_NONE in NEEDS
    needs = spec("example.com").needs
    assert needs == {
        **{name: level for name, level in NEEDS.items() if name is not Guarantee.NET_NONE},
        Guarantee.NET_ALLOWLIST: Level.ENFORCED,
    }


def test_a_spec_that_asks_for_less_still_needs_the_allow_list_when_it_has_hosts() -> None:
    one = Spec(Language.PYTHON, "main", {"main": b""}, needs={}, hosts=("example.com",))
    assert one.needs == {Guarantee.NET_ALLOWLIST: Level.ENFORCED}


@given(NAME, NAME, PORT)
def test_an_exact_name_is_that_name_on_the_ports_of_the_web(entry: str, host: str, port: int) -> None:
    assert allows(entry, host, port) == (host == entry and port in {80, 443})


@given(NAME, PORT, NAME, PORT)
def test_a_port_in_an_entry_is_the_only_one(entry: str, listed: int, host: str, port: int) -> None:
    assert allows(f"{entry}:{listed}", host, port) == (host == entry and port == listed)
    assert allows(f"{entry}:{listed}", entry, listed)


@given(NAME, NAME)
def test_a_wildcard_is_everything_below_a_name_and_not_the_name(suffix: str, host: str) -> None:
    if "." not in suffix:
        return
    assert allows(f"*.{suffix}", host, 443) == host.endswith(f".{suffix}")
    assert not allows(f"*.{suffix}", suffix, 443)


@given(NAME, LABEL)
def test_a_wildcard_ends_at_a_dot(suffix: str, word: str) -> None:
    assert allows(f"*.{suffix}", f"{word}.{suffix}", 443)
    assert not allows(f"*.{suffix}", f"{word}{suffix}", 443)
    assert not allows(f"*.{suffix}", f"{suffix}.{word}.com", 443)


@given(NAME)
def test_spelling_does_not_matter(name: str) -> None:
    assert allows(name.upper(), name, 443)
    assert allows(name, name.upper() + ".", 443)
    assert allows(f"*.{name}", f"X.{name.title()}", 80)


@given(st.ip_addresses(), NAME)
def test_no_entry_opens_an_address(address: object, name: str) -> None:
    text = f"[{address}]" if ":" in str(address) else str(address)
    assert not allows(f"*.{name}", text, 443)
    with pytest.raises(InvalidError):
        hosts.policy([text])
