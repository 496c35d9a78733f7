"""The rules for addresses, alone: a corpus of hostile URLs and properties over every address there is."""

import json
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.infra.egress_address import (
    EgressDeniedError,
    address_reason,
    name_reason,
    parse_target,
)
from atom.infra.egress_policy import EgressPolicy, EgressRuleError, Zone, check_addresses


class Hostile(TypedDict, total=False):
    url: str
    reason: str
    answers: list[str]


CORPUS: list[Hostile] = json.loads((Path(__file__).parent / "hostile_urls.json").read_text("utf-8"))
OPEN = EgressPolicy()
PUBLIC = ["93.184.216.34", "8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1", "100.63.255.255", "172.32.0.1"]


def reason_for(url: str, answers: list[str]) -> str | None:
    """What refuses a URL whose name has these answers; None when nothing does."""
    try:
        target = parse_target(url)
        zone = OPEN.zone(target)
        found = [target.address] if target.address else [ip_address(answer) for answer in answers]
        check_addresses(target.host, found, zone)
    except EgressDeniedError as error:
        return error.reason
    except ValueError:
        return "address"
    return None


def refused(address: str, zone: Zone) -> str | None:
    """Why a host with this address, listed after a harmless inner one, is refused; None when it is not."""
    try:
        check_addresses("wiki", [IPv4Address("10.0.0.1"), ip_address(address)], zone)
    except EgressDeniedError as error:
        return error.reason
    return None


@pytest.mark.parametrize("hostile", CORPUS, ids=[repr(row["url"])[:60] for row in CORPUS])
def test_hostile_url_is_refused_for_its_reason(hostile: Hostile) -> None:
    assert reason_for(hostile["url"], hostile.get("answers", ["93.184.216.34"])) == hostile["reason"]


def test_corpus_is_large_and_without_repetition() -> None:
    assert len({row["url"] for row in CORPUS}) == len(CORPUS) >= 150


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://example.com", "example.com", 443),
        ("HTTP://Example.COM:80/a?b#c", "example.com", 80),
        ("https://example.com./", "example.com", 443),
        ("https://bücher.example/x", "xn--bcher-kva.example", 443),
        ("https://my_app.example.com:443/", "my_app.example.com", 443),
        ("http://93.184.216.34/", "93.184.216.34", 80),
        ("http://[2606:4700:0:0::1111]/", "2606:4700::1111", 80),
        ("https://127.evil.com/", "127.evil.com", 443),
        ("https://0x7f.example.com/", "0x7f.example.com", 443),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443),
        ("https://example.com?q=1", "example.com", 443),
    ],
)
def test_plain_url_has_one_canonical_reading(url: str, host: str, port: int) -> None:
    target = parse_target(url)
    assert (target.host, target.port) == (host, port)
    assert parse_target(str(target.url)).origin == target.origin


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_admitted(address: str) -> None:
    assert address_reason(ip_address(address)) is None


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_no_admitted_ipv4_address_is_special(address: IPv4Address) -> None:
    special = not address.is_global or address.is_multicast or address.is_reserved or address.is_loopback
    assert address_reason(address) is not None or not special


@given(
    st.integers(0, 2**128 - 1).map(IPv6Address) | st.integers(0, 2**125 - 1).map(lambda n: IPv6Address((1 << 125) + n))
)
def test_no_admitted_ipv6_address_is_special_or_carries_ipv4(address: IPv6Address) -> None:
    carries = address.ipv4_mapped or address.sixtofour or address.teredo
    special = not address.is_global or address.is_multicast or address.is_reserved or address.is_link_local or carries
    assert address_reason(address) is not None or not special


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_every_embedding_of_an_ipv4_address_is_refused(inner: IPv4Address) -> None:
    number = int(inner)
    for high in (
        0,
        0xFFFF << 32,
        0xFFFF << 48,
        0x64FF9B << 96,
        0x2002 << 112 | number << 80,
        0x5EFE << 32 | 0x2606 << 112,
    ):
        assert address_reason(IPv6Address(high | number)) is not None


@given(
    st.sampled_from(["10.0.0.0", "127.0.0.0", "192.168.0.0", "169.254.0.0"]),
    st.integers(1, 65535),
    st.sampled_from(["{0}", "0x{0:x}", "0X{0:X}", "0{0:o}", "00{0:o}"]),
)
def test_every_other_notation_of_an_inner_address_is_refused(network: str, host: int, notation: str) -> None:
    address = IPv4Address(int(IPv4Address(network)) + host)
    first, rest = int(address) >> 24, int(address) & 0xFFFFFF
    whole = notation.format(int(address))
    short = f"{notation.format(first)}.{notation.format(rest)}"
    for text in (whole, short):
        with pytest.raises(EgressDeniedError):
            parse_target(f"http://{text}/")


@given(st.text(max_size=60), st.sampled_from(["http://", "https://", ""]))
def test_any_text_is_a_target_in_one_reading_or_a_refusal(text: str, scheme: str) -> None:
    try:
        target = parse_target(scheme + text)
    except EgressDeniedError:
        return
    assert target.host.isascii()
    assert target.url.raw_host.decode() == target.host
    assert not target.url.userinfo
    assert parse_target(str(target.url)).origin == target.origin


@given(st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True))
def test_a_name_of_one_label_is_never_public(label: str) -> None:
    assert name_reason(label) is not None


@pytest.mark.parametrize(
    ("entries", "url", "zone"),
    [
        ((), "https://example.com/", Zone.PUBLIC),
        (("example.com",), "http://example.com/", Zone.PUBLIC),
        (("EXAMPLE.com.",), "http://example.com/", Zone.PUBLIC),
        (("example.com:8443",), "https://example.com:8443/", Zone.PUBLIC),
        (("*.example.com",), "https://a.b.example.com/", Zone.PUBLIC),
        (("*", "internal:wiki:8080"), "https://other.org/", Zone.PUBLIC),
        (("*", "internal:wiki:8080"), "http://wiki:8080/", Zone.INTERNAL),
        (("internal:wiki.corp",), "https://wiki.corp/", Zone.INTERNAL),
        (("127.0.0.1:8080",), "http://127.0.0.1:8080/", Zone.INTERNAL),
        (("10.0.0.5",), "http://10.0.0.5/", Zone.INTERNAL),
        (("[::1]:8080",), "http://[0:0::1]:8080/", Zone.INTERNAL),
        (("bücher.example",), "https://xn--bcher-kva.example/", Zone.PUBLIC),
    ],
)
def test_allow_list_admits_what_it_names(entries: tuple[str, ...], url: str, zone: Zone) -> None:
    assert EgressPolicy.parse(entries).zone(parse_target(url)) is zone


@pytest.mark.parametrize(
    ("entries", "url", "reason"),
    [
        (("example.com",), "https://www.example.com/", "not-allowed"),
        (("*.example.com",), "https://example.com/", "not-allowed"),
        (("*.example.com",), "https://evilexample.com/", "not-allowed"),
        (("*.example.com",), "https://example.com.evil.org/", "not-allowed"),
        (("example.com",), "https://example.com:8443/", "not-allowed"),
        (("example.com:8443",), "https://example.com/", "not-allowed"),
        (("127.0.0.1:8080",), "http://127.0.0.1:8081/", "not-allowed"),
        (("127.0.0.1:8080",), "http://127.0.0.2:8080/", "not-allowed"),
        (("internal:wiki:8080",), "http://example.com/", "not-allowed"),
        (("*",), "http://wiki/", "local-name"),
        (("*",), "http://example.com:8080/", "not-allowed"),
    ],
)
def test_allow_list_admits_nothing_else(entries: tuple[str, ...], url: str, reason: str) -> None:
    with pytest.raises(EgressDeniedError) as caught:
        EgressPolicy.parse(entries).zone(parse_target(url))
    assert caught.value.reason == reason


def test_wildcard_for_all_public_hosts_opens_no_inner_address() -> None:
    policy = EgressPolicy.parse(["*"])
    target = parse_target("http://10.0.0.1/")
    with pytest.raises(EgressDeniedError, match="private"):
        check_addresses(target.host, [IPv4Address("10.0.0.1")], policy.zone(target))


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "100.64.0.1", "fd00::1", "::1", "8.8.8.8"])
def test_internal_permission_opens_inner_addresses(address: str) -> None:
    assert refused(address, Zone.INTERNAL) is None


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "169.254.1.1", "fe80::1", "224.0.0.1", "0.0.0.0", "fd00:ec2::254", "::ffff:10.0.0.1"]
)
def test_internal_permission_never_opens_metadata_or_link_local(address: str) -> None:
    assert refused(address, Zone.INTERNAL) is not None


@pytest.mark.parametrize(
    "entry",
    [
        "http://example.com", "example.com/path", "user@example.com", "exa mple.com", "example.com:0",
        "example.com:99999", "", "*.*.example.com", "127.1", "0x7f000001", "internal:*.corp", "internal:", "internal:*",
        "*.10.0.0.1", "wiki.corp", "redis", "169.254.169.254", "internal:metadata.google.internal", "224.0.0.1",
        "metadata.google.internal", "[fe80::1]", "0.0.0.0", "[::ffff:10.0.0.1]",
    ],
)  # fmt: skip
def test_allow_list_entry_that_means_nothing_or_opens_too_much_fails_at_start(entry: str) -> None:
    with pytest.raises(EgressRuleError, match="ATOM_TOOLS__HTTP_ALLOW"):
        EgressPolicy.parse([entry])
