"""Answers of a container, whoever wrote them."""

import asyncio
import json

import pytest

from atom.skills.sandbox.adapters.docker import replies
from atom.skills.sandbox.models import Limits


def answer(**changes: object) -> bytes:
    head = {"reason": "ok", "detail": "", "code": 0, "token": "t", "names": [], "sizes": [1, 1, 1], **changes}
    text = json.dumps({name: value for name, value in head.items() if value is not None}).encode()
    return len(text).to_bytes(8, "little") + text + b"x" * 200


async def read(body: bytes, limits: Limits | None = None) -> replies.Reply:
    stream = asyncio.StreamReader()
    stream.feed_data(body)
    stream.feed_eof()
    return await replies.reply(stream.readexactly, "t", limits or Limits(output=10, artefacts=2, artefact_bytes=20))


async def test_an_answer_is_taken_as_it_is() -> None:
    found = await read(answer(names=["a/b"], sizes=[1, 2, 3, 4], refused=[["link", "a symbolic link"]]))
    assert (found.output, found.errors, found.result) == (b"x", b"xx", b"xxx")
    assert [(one.name, one.body) for one in found.artefacts] == [("a/b", b"xxxx")]
    assert found.refused == (("link", "a symbolic link"),)


@pytest.mark.parametrize(
    "body",
    [
        answer(token="other"),
        answer(token=None),
        answer(reason="wonderful"),
        answer(reason=None),
        answer(sizes=[11, 1, 1]),
        answer(sizes=[1, 1]),
        answer(sizes=[1, 1, 1, 1]),
        answer(sizes=[1, 1, -1]),
        answer(sizes=[True, 1, 1]),
        answer(sizes="111"),
        answer(names=["a"], sizes=[1, 1, 1, 21]),
        answer(names=["a", "b", "c"], sizes=[1] * 6),
        answer(names=["a", "a"], sizes=[1] * 5),
        *(
            answer(names=[name], sizes=[1] * 4)
            for name in ("../a", "/a", "..", ".", "", "a/../b", "a//b", "a\n", "a\\b", 7, None)
        ),
        answer(refused=[["a"]]),
        answer(code="many"),
        answer(cpu=[]),
        (1 << 40).to_bytes(8, "little") + b"{}",
        (6).to_bytes(8, "little") + b"[1, 2]",
        (5).to_bytes(8, "little") + b"{nope",
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
    ],
)
async def test_32_an_answer_that_no_supervisor_gives_is_refused(body: bytes) -> None:
    with pytest.raises(replies.BadReplyError):
        await read(body)
