"""The built-in model runs in a process of its own, which ends when Atom does, however Atom ends."""

import signal
from pathlib import Path

import psutil
import pytest

from atom.llm.adapters.local_weights import missing
from tests.support.processes import agent, atom_up, postgres_of, start_run, until

LEFT_SECONDS = 3.0


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.local_model
@pytest.mark.skipif(missing() is not None, reason="the local model's weights are not installed")
def test_kill_9_leaves_no_model_behind(home: Path) -> None:
    with atom_up(home, env={"LLM_PROVIDER": "local"}) as daemon, daemon.client() as http:
        agent(http)
        start_run(http, "What is there?")

        def models() -> list[psutil.Process]:
            family = psutil.Process(daemon.pid).children(recursive=True)
            return [process for process in family if "local model" in " ".join(process.cmdline())]

        family = [*until(models), *postgres_of(home)]
        daemon.signal(signal.SIGKILL)
        daemon.ended()
        until(lambda: not any(alive(process) for process in family), LEFT_SECONDS, what="children end")
        assert len(family) > 1
