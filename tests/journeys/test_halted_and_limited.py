"""What an operator sees at the terminal of a halt, of limits and of what was spent."""

import asyncio
from pathlib import Path

from sqlalchemy import URL

from atom.llm.testing import ScriptedModel
from atom.web.testing import running_atom, settings_for_tests
from tests.support.shell import Shell, read_until


async def test_a_halt_is_seen_wherever_somebody_waits(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home), database, ScriptedModel("Hello.")) as atom:
        shell = Shell(home, atom.url, atom.token)
        await atom.agent()
        assert (await shell("halt")).out == "Nothing is halted.\n"
        halted = await shell("halt", "--all", "--reason", "drill")
        assert "by admin:admin: drill" in halted.out
        assert "by admin:admin: drill" in (await shell("halt", code=1)).out
        async with shell.start("run", "worker", "Say hello.") as process:
            assert process.stderr is not None
            assert "Everything is halted" in await read_until(process.stderr, "atom halt")
            listed = await shell("runs", "list")
            assert "queued" in listed.out
            assert "Everything is halted" in listed.err
            assert (await shell("halt", "--lift")).out == "Nothing is halted.\n"
            out, _ = await asyncio.wait_for(process.communicate(), 20)
        assert (process.returncode, "Hello." in out.decode()) == (0, True)
        assert "halted" not in (await shell("runs", "list")).err


async def test_limits_and_spending_are_shown_by_name(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home), database, ScriptedModel("Hello.")) as atom:
        shell = Shell(home, atom.url, atom.token)
        agent = await atom.agent("reader")
        limit = ("keys", "budget", "--unit", "tokens", "--agent", "reader", "--window", "day")
        assert (await shell(*limit, "9000")).out == "At most 9,000 tokens a day, agent reader.\n"
        assert (await atom.done("reader", "Say hello."))["status"] == "completed"
        (row,) = (await shell("keys", "budgets")).out.splitlines()[1:]
        assert row.split()[1:6] == ["agent", "reader", "9,000", "tokens", "day"]
        heads, used = (await shell("keys", "usage", "--by", "agent")).out.splitlines()
        assert heads.split()[:3] == ["AGENT", "NAME", "CALLS"]
        assert used.split()[:3] == [agent["id"], "reader", "1"]
        for amount in ("nan", "0.5"):
            refused = await shell(*limit, amount, code=None)
            assert (refused.code != 0, "amount" in refused.err) == (True, True), (amount, refused)
        for option in ("--agent", "--key"):
            refused = await shell("keys", "budget", "5", option, "nobody", code=None)
            assert (refused.code, "nobody" in refused.err) == (1, True), refused
        assert (await shell(*limit, "0.0")).out == "The limit is taken away.\n"
        assert "no such limit" in (await shell(*limit, "0", code=1)).err.lower()
