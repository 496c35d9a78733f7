"""The port of the sandbox: whatever runs programs so that they cannot get out."""

from typing import Protocol
from uuid import UUID

from atom.skills.sandbox.models import Report, Result, Spec


class Sandbox(Protocol):
    """`run` never raises for what a program does, nor for an engine that breaks: the result's reason says it.

    A need of the spec that the last `probe` did not see met is a result with the reason `policy`; so is every run
    before the first probe.
    """

    @property
    def name(self) -> str: ...

    async def probe(self) -> Report:
        """Run the canaries. A few seconds; call it once at start, and again when a doubt is to be settled."""
        ...

    async def run(self, spec: Spec) -> Result:
        """Run one program to its end. A cancelled call ends the program first."""
        ...

    async def kill(self, execution_id: UUID) -> bool:
        """End an execution; its `run` returns `killed`. False when it does not run here."""
        ...

    async def close(self) -> None:
        """End the processes that were started for it. It may be used again."""
        ...

    async def reap_orphans(self) -> int:
        """End and remove what executions left whose supervisor is gone. How many there were."""
        ...
