"""The egress client on a fake network: what it resolves, where it connects, what follows a redirect."""

import asyncio
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from atom.infra.egress import (
    EgressClient,
    EgressLimits,
    EgressTimeoutError,
)
from atom.infra.egress_address import EgressDeniedError
from atom.infra.egress_body import EgressReplyError, EgressTooLargeError
from atom.infra.egress_policy import EgressPolicy
from atom.infra.egress_resolver import EgressNameError, EgressUnreachableError, SystemResolver

CORPUS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "hostile_urls.json").read_text("utf-8"))
ONE, TWO, SIX = "93.184.216.34", "93.184.216.35", "2606:4700::1111"
Handler = Callable[[httpx2.Request], httpx2.Response]


@dataclass
class FakeNames:
    """Answers in turn, the last one for ever; remembers what it was asked."""

    answers: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    default: Sequence[str] = (ONE,)
    asked: list[str] = field(default_factory=list)

    async def addresses(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        turns = self.answers.get(name.rstrip("."), [self.default])
        return turns[min(self.asked.count(name), len(turns)) - 1]


class Network(httpx2.AsyncBaseTransport):
    """Every connection lands here, with the address it was made to."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return self.handler(request)

    @property
    def connected(self) -> list[str]:
        return [request.url.raw_host.decode() for request in self.requests]


def client(
    network: Network,
    names: FakeNames | None = None,
    allow: Sequence[str] = (),
    *,
    seconds: float = 5.0,
    size: int = 10_000,
) -> EgressClient:
    limits = EgressLimits(seconds=seconds, max_bytes=size)
    return EgressClient(EgressPolicy.parse(allow), limits, names or FakeNames(), lambda: network)


def ok(_: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, text="hello")


def redirects(*steps: tuple[int, str]) -> Handler:
    """Answers each request with the next redirect, then with a page."""
    left = list(steps)

    def handler(_: httpx2.Request) -> httpx2.Response:
        if not left:
            return httpx2.Response(200, text="end")
        status, location = left.pop(0)
        return httpx2.Response(status, headers={"location": location})

    return handler


async def test_whole_corpus_opens_no_connection() -> None:
    network = Network(ok)
    passed = []
    for row in CORPUS:
        names = FakeNames(default=row.get("answers", [ONE]))
        try:
            await client(network, names).get(row["url"])
        except EgressDeniedError:
            continue
        passed.append(row["url"])
    assert passed == []
    assert network.requests == []


async def test_whole_corpus_is_refused_as_the_target_of_a_redirect() -> None:
    passed = []
    for row in CORPUS:
        names = FakeNames({"start.example.org": [[ONE]]}, default=row.get("answers", [ONE]))
        location = row["url"].encode("utf-8", "replace")
        network = Network(lambda _, to=location: httpx2.Response(302, headers=[(b"location", to)]))  # type: ignore[misc]
        try:
            await client(network, names).get("http://start.example.org/")
        except (EgressDeniedError, EgressReplyError):
            pass
        else:
            passed.append(row["url"])
        # A relative reference is a path on the checked host: the redirect loop ends it. Nothing else is connected to.
        assert set(network.connected) == {ONE}, row["url"]
    assert passed == []


async def test_connection_goes_to_the_checked_address_and_keeps_the_name() -> None:
    network = Network(ok)
    names = FakeNames({"example.com": [[ONE, TWO]]})
    reply = await client(network, names).get("https://example.com/a%20b?q=1#part")
    (request,) = network.requests
    assert str(request.url) == f"https://{ONE}/a%20b?q=1"
    assert request.headers["host"] == "example.com"
    assert request.extensions["sni_hostname"] == "example.com"
    assert (reply.status, reply.body, reply.redirects) == (200, b"hello", 0)


async def test_ipv6_address_and_port_of_its_own_are_kept() -> None:
    network = Network(ok)
    names = FakeNames({"example.com": [[SIX]]})
    await client(network, names, ["example.com:8443"]).get("https://example.com:8443/")
    assert str(network.requests[0].url) == f"https://[{SIX}]:8443/"
    assert network.requests[0].headers["host"] == "example.com:8443"


async def test_public_name_is_resolved_absolutely_and_once() -> None:
    names = FakeNames()
    await client(Network(ok), names).get("http://kubernetes.default/")
    assert names.asked == ["kubernetes.default."]  # the trailing dot keeps search domains out


async def test_resolver_that_changes_its_answer_gains_nothing() -> None:
    network = Network(ok)
    names = FakeNames({"rebind.example.com": [[ONE], ["127.0.0.1"]]})
    await client(network, names).get("http://rebind.example.com/")
    assert (network.connected, len(names.asked)) == ([ONE], 1)


async def test_resolver_that_changes_its_answer_for_the_redirect_is_refused() -> None:
    network = Network(redirects((302, "/again")))
    names = FakeNames({"rebind.example.com": [[ONE], ["127.0.0.1"]]})
    with pytest.raises(EgressDeniedError, match="loopback"):
        await client(network, names).get("http://rebind.example.com/")
    assert network.connected == [ONE]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_followed_and_counted(status: int) -> None:
    network = Network(redirects((status, "https://other.example.org/x")))
    reply = await client(network).get("http://example.com/")
    assert (reply.url, reply.redirects, reply.body) == ("https://other.example.org/x", 1, b"end")


async def test_three_redirects_are_followed_and_a_fourth_is_not() -> None:
    steps = [(302, f"/{step}") for step in range(4)]
    assert (await client(Network(redirects(*steps[:3]))).get("http://example.com/")).redirects == 3
    with pytest.raises(EgressDeniedError, match="redirects"):
        await client(Network(redirects(*steps))).get("http://example.com/")


async def test_credentials_stay_with_the_first_origin() -> None:
    sent = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Api-Key": "k", "Accept": "text/plain"}
    network = Network(redirects((302, "/same"), (302, "https://other.example.org/"), (302, "https://example.com/back")))
    await client(network).get("https://example.com/", headers=sent)
    first, same, other, back = network.requests
    for request in (first, same):
        assert {"authorization", "cookie", "x-api-key"} <= set(request.headers)
    for request in (other, back):
        assert not {"authorization", "cookie", "x-api-key"} & set(request.headers)
        assert request.headers["accept"] == "text/plain"


async def test_other_port_is_another_origin() -> None:
    network = Network(redirects((302, "https://example.com:8443/")))
    await client(network, allow=["example.com", "example.com:8443"]).get("https://example.com/", headers={"X-Key": "k"})
    assert "x-key" not in network.requests[1].headers


async def test_caller_cannot_replace_the_host_header() -> None:
    network = Network(ok)
    await client(network).get("https://example.com/", headers={"Host": "inner", "Connection": "keep-alive"})
    assert network.requests[0].headers["host"] == "example.com"
    assert network.requests[0].headers["connection"] == "close"


async def test_redirect_from_https_to_http_is_refused() -> None:
    with pytest.raises(EgressDeniedError) as caught:
        await client(Network(redirects((302, "http://example.com/")))).get("https://example.com/")
    assert caught.value.reason == "downgrade"


async def test_public_page_cannot_redirect_into_an_opened_inner_host() -> None:
    network = Network(redirects((302, "http://wiki:8080/")))
    names = FakeNames({"wiki": [["10.0.0.1"]]})
    with pytest.raises(EgressDeniedError) as caught:
        await client(network, names, ["*", "internal:wiki:8080"]).get("http://example.com/")
    assert (caught.value.reason, network.connected) == ("inward-redirect", [ONE])


async def test_opened_inner_host_is_reached_by_its_search_name() -> None:
    network = Network(ok)
    names = FakeNames({"wiki": [["10.0.0.1"]]})
    await client(network, names, ["internal:wiki:8080"]).get("http://wiki:8080/")
    assert (names.asked, network.connected) == (["wiki"], ["10.0.0.1"])


async def test_opened_inner_host_that_resolves_to_metadata_is_refused() -> None:
    network = Network(ok)
    names = FakeNames({"wiki": [["169.254.169.254"]]})
    with pytest.raises(EgressDeniedError, match="metadata"):
        await client(network, names, ["internal:wiki"]).get("http://wiki/")
    assert network.requests == []


async def test_next_checked_address_is_tried_when_one_does_not_answer() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == ONE:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200, text="second")

    network = Network(handler)
    reply = await client(network, FakeNames(default=[ONE, TWO])).get("http://example.com/")
    assert (network.connected, reply.body) == ([ONE, TWO], b"second")


async def test_tries_are_bounded_when_nothing_answers() -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    network = Network(handler)
    many = [f"93.184.216.{last}" for last in range(1, 40)]
    with pytest.raises(EgressUnreachableError, match=r"example\.com:80 cannot be connected to"):
        await client(network, FakeNames(default=many)).get("http://example.com/")
    assert len(network.requests) == 3


async def test_request_that_was_sent_is_not_sent_again() -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("reset")

    network = Network(handler)
    with pytest.raises(EgressUnreachableError, match="dropped"):
        await client(network, FakeNames(default=[ONE, TWO])).get("http://example.com/")
    assert len(network.requests) == 1


async def test_name_without_an_address_is_said_so() -> None:
    with pytest.raises(EgressNameError, match=r"nowhere\.example\.com"):
        await client(Network(ok), FakeNames(default=[])).get("http://nowhere.example.com/")


async def test_announced_size_over_the_limit_is_refused_before_the_body() -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-length": "10001"}, content=b"x")

    with pytest.raises(EgressTooLargeError):
        await client(Network(handler)).get("http://example.com/")


async def test_whole_fetch_is_bounded_in_time_names_included() -> None:
    class Hanging:
        async def addresses(self, name: str) -> Sequence[str]:
            await asyncio.sleep(60)
            return [name]

    limits = EgressLimits(seconds=0.05, max_bytes=1000)
    egress = EgressClient(EgressPolicy(), limits, Hanging(), lambda: Network(ok))
    with pytest.raises(EgressTimeoutError, match=r"0\.05 seconds"):
        await egress.get("http://example.com/")


async def test_refusal_names_no_address() -> None:
    with pytest.raises(EgressDeniedError) as caught:
        await client(Network(ok), FakeNames(default=["10.11.12.13"])).get("http://example.com/")
    assert "10.11" not in str(caught.value)


async def test_system_resolver_knows_the_loopback_name_and_reports_an_unknown_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = SystemResolver()
    assert set(await resolver.addresses("localhost")) <= {"127.0.0.1", "::1"}

    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(EgressNameError, match=r"nowhere\.example does not exist"):
        await resolver.addresses("nowhere.example.")
