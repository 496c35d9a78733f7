"""Signs of life on stderr: a spinner while nothing comes, a bar where the end is known. Silent when not a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.status import Status

Advance = Callable[[int, int | None], None]


@dataclass(slots=True)
class Spinner:
    console: Console
    status: Status | None = field(default=None)

    def start(self, text: str) -> None:
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            return
        if self.status is None:
            self.status = self.console.status(text)
            self.status.start()
        else:
            self.status.update(text)

    def stop(self) -> None:
        if self.status is not None:
            self.status.stop()
            self.status = None


@contextmanager
def bar(console: Console, text: str) -> Iterator[Advance]:
    """A bar that is told how much is done and, when it is known, of how much."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    shown = console.is_terminal and not console.is_dumb_terminal
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
