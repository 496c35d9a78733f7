"""http_get shows text with its origin, in parts, and turns every refusal into something a model can act on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from atom.governance.models import EffectClass, Risk
from atom.infra.egress import EgressClient, EgressLimits, EgressTimeoutError
from atom.infra.egress_policy import EgressPolicy, EgressRuleError
from atom.infra.egress_resolver import EgressUnreachableError
from atom.kit.ids import new_id
from atom.settings import ToolSettings
from atom.tools.errors import EgressRefusedError, ToolArgumentsError, ToolError
from atom.tools.http import NOTICE, http_get_tool, tool_egress
from atom.tools.ports import ToolContext, ToolOutput

SETTINGS = ToolSettings(http_timeout=5, http_max_bytes=200_000)
CONTEXT = ToolContext(new_id(), new_id(), Path("unused"), "key")


class OneName:
    async def addresses(self, name: str) -> Sequence[str]:
        return {"example.com.": ["93.184.216.34"], "inner.example.com.": ["10.0.0.1"]}.get(name, [])


async def get(handler: Callable[[httpx2.Request], httpx2.Response], arguments: Mapping[str, Any]) -> ToolOutput:
    limits = EgressLimits(SETTINGS.http_timeout, SETTINGS.http_max_bytes)
    egress = EgressClient(EgressPolicy(), limits, OneName(), lambda: httpx2.MockTransport(handler))
    return await http_get_tool(SETTINGS, egress).run(arguments, CONTEXT)


def page(
    content: bytes, kind: str | None = "text/plain", status: int = 200
) -> Callable[[httpx2.Request], httpx2.Response]:
    headers = {"content-type": kind} if kind else {}
    return lambda _: httpx2.Response(status, content=content, headers=headers)


URL = {"url": "https://example.com/"}


async def test_text_comes_with_status_type_and_a_warning_about_its_origin() -> None:
    output = await get(page(b'{"a": 1}', "application/json; charset=utf-8"), URL)
    first, notice, body = output.content.split("\n")
    assert first == "HTTP 200 OK, application/json, 8 bytes, https://example.com/"
    assert (notice, body) == (NOTICE, '{"a": 1}')


@pytest.mark.parametrize("status", [404, 500, 599])
async def test_error_status_is_shown_and_not_raised(status: int) -> None:
    output = await get(page(b"gone", status=status), URL)
    assert output.content.startswith(f"HTTP {status}")
    assert output.content.endswith("gone")


async def test_long_text_comes_in_parts_that_make_the_whole() -> None:
    text = "".join(f"{number:06}\n" for number in range(15_000))
    seen = ""
    while len(seen) < len(text):
        output = await get(page(text.encode()), {**URL, "start": len(seen)})
        body = output.content.split("\n", 2)[2]
        assert len(output.content) < 41_000
        seen += body.rsplit("\n[characters", 1)[0] if output.data["truncated"] else body
    assert seen == text
    with pytest.raises(ToolArgumentsError, match="start: 105000 is past the end"):
        await get(page(text.encode()), {**URL, "start": len(text)})


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("image/png", b"\x89PNG"),
        ("application/octet-stream", b"abc"),
        ("text/plain", b"a\0b"),
        (None, b"\0\1\2"),
        ("text/html", b"\xff" * 300),
    ],
)
async def test_binary_is_refused_politely(kind: str | None, content: bytes) -> None:
    with pytest.raises(ToolError, match="not text"):
        await get(page(content, kind), URL)


@pytest.mark.parametrize(
    ("kind", "content", "text"),
    [
        ("text/html; charset=ISO-8859-1", "Grüße".encode("latin-1"), "Grüße"),
        ('text/html; charset="utf-8"', "Grüße".encode(), "Grüße"),
        ("text/html; charset=shift_jis", "日本".encode("shift_jis"), "日本"),
        ("text/html; charset=unicode_escape", rb"\x41", r"\x41"),
        ("text/html; charset=idna", b"xn--a", "xn--a"),
        ("text/html; charset=zlib", b"plain", "plain"),
        ("text/html; charset=none-such", b"plain", "plain"),
        ("application/vnd.api+json", b"{}", "{}"),
        (None, b"plain", "plain"),
    ],
)
async def test_text_is_decoded_by_a_plain_charset_only(kind: str | None, content: bytes, text: str) -> None:
    assert (await get(page(content, kind), URL)).content.endswith("\n" + text)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://169.254.169.254/", "file:///etc/passwd", "https://inner.example.com/", "not a url"],
)
async def test_forbidden_address_is_a_refusal_that_names_the_argument(url: str) -> None:
    with pytest.raises(EgressRefusedError, match=r"^url: ") as caught:
        await get(page(b"secret"), {"url": url})
    assert "10.0.0.1" not in str(caught.value)


async def test_unknown_host_and_too_large_reply_can_be_corrected_by_the_model() -> None:
    with pytest.raises(ToolError, match="has no address"):
        await get(page(b""), {"url": "https://nowhere.example.com/"})
    with pytest.raises(ToolError, match="more than 200000 bytes"):
        await get(page(b"x" * 200_001), URL)


async def test_server_that_is_down_is_a_passing_failure_and_not_the_models_mistake() -> None:
    def down(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    with pytest.raises(EgressUnreachableError) as caught:
        await get(down, URL)
    assert caught.value.retryable
    assert EgressTimeoutError.retryable


def test_governance_sees_an_egress_of_high_risk_with_more_time_than_the_client() -> None:
    tool = http_get_tool(SETTINGS, tool_egress(SETTINGS))
    assert (tool.action.risk, tool.action.effect, tool.action.egress) == (Risk.HIGH, EffectClass.READ, True)
    assert tool.timeout > SETTINGS.http_timeout


def test_allow_list_of_the_settings_is_read_at_start() -> None:
    egress = tool_egress(ToolSettings(http_allow="example.com, internal:wiki:8080"))  # type: ignore[arg-type]
    assert [rule.host for rule in egress.policy.rules] == ["example.com", "wiki"]
    with pytest.raises(EgressRuleError, match="ATOM_TOOLS__HTTP_ALLOW: 'http://x' is not a host"):
        tool_egress(ToolSettings(http_allow=("http://x",)))
