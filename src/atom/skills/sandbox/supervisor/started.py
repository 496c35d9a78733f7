"""A program that runs, and where its output is."""

from atom.skills.sandbox.supervisor.detour import Detour


class Started:
    """`pid` is our child, `inner` a pidfd of the first process of its pid namespace (-1: none).

    `path` is empty where no name leads to the folder.

    `quota`: a file system of its own bounds the folder's bytes. `counted`: its entries, too. What is not bounded is
    watched. `detour`: the way to the hosts that the program may reach, if any.
    """

    def __init__(
        self,
        pid: int,
        inner: int,
        work: int,
        path: str,
        *,
        quota: bool,
        counted: bool,
        detour: "Detour | None" = None,
    ) -> None:
        self.pid = pid
        self.inner = inner
        self.work = work
        self.path = path
        self.quota = quota
        self.counted = counted
        self.detour = detour or Detour(0)
