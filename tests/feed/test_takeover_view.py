"""What a viewer sees when the worker that was speaking is followed by another, and the viewer itself comes and goes."""

import asyncio
import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

from sqlalchemy import URL, text

from atom.client import AtomClient
from atom.client.models import Delta, Event
from atom.client.transcript import Transcript
from atom.infra.db import unit_of_work
from atom.llm.adapters.script import Reply
from atom.llm.testing import ScriptedModel
from atom.settings import RunSettings
from atom.web.testing import RunningAtom, running_atom, settings_for_tests

WORDS = tuple(f"word{number} " for number in range(12))


async def lose_the_lease(atom: RunningAtom) -> None:
    """As if the worker had been silent: its next heartbeat or write is refused, and the run is free."""
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        await session.execute(
            text(
                "UPDATE agent_execution SET lease_owner = NULL, lease_expires_at = NULL, lease_epoch = lease_epoch + 1"
                " WHERE lease_owner IS NOT NULL"
            )
        )


async def test_text_of_the_next_owner_is_never_taken_for_more_of_the_first(database: URL, home: Path) -> None:
    slow = Reply(chunks=WORDS, chunk_delay=0.15)
    model = ScriptedModel(slow, Reply(chunks=("all ", "new "), chunk_delay=0.05))
    settings = settings_for_tests(home, runs=RunSettings(lease_seconds=1, sweep_seconds=0.1))
    async with running_atom(settings, database, model) as atom, AtomClient(atom.url, atom.token) as client:
        await atom.agent()
        run_id = (await atom.start("worker", "go"))["id"]
        pieces: dict[tuple[str, int], list[Delta]] = defaultdict(list)
        shown: list[str] = []
        transcript = Transcript()

        async def watch() -> None:
            after, lost = 0, False
            while True:
                items = client.runs.follow(run_id, after)
                async for item in items:
                    if isinstance(item, Event):
                        after = item.seq
                        if item.type == "model.replied":
                            transcript.reply(item.data["step"], item.data["text"])
                            shown.append(item.data["text"])
                        if item.type == "run.completed":
                            return
                        continue
                    pieces[item.step, item.attempt].append(item)
                    if not lost and item.offset > 20:
                        lost = True
                        await lose_the_lease(atom)
                        break  # and the viewer's connection is gone as well
                await _close(items)

        await asyncio.wait_for(watch(), 20)
        attempts = sorted(attempt for _, attempt in pieces)
        assert len(attempts) == 2
        assert attempts[1] // 100 > attempts[0] // 100, "the next owner counts behind the first"
        for found in pieces.values():
            for one, following in itertools.pairwise(found):
                again = following.offset == 0 and one.offset == 0  # the beginning, told to who came back
                assert again or following.offset <= one.offset + len(one.text)
        assert shown == ["all new "]
        assert (await atom.run(run_id))["answer"] == "all new"


async def _close(items: Any) -> None:
    await items.aclose()
