"""`atom up`: everything on this machine, in the foreground, until Ctrl-C."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from atom import __version__
from atom.cli import demo as demonstration
from atom.cli.database import check_url, open_database
from atom.cli.failures import INTERRUPTED, NO
from atom.cli.home import occupied
from atom.cli.output import Output
from atom.infra import log
from atom.infra.budget import fit
from atom.infra.embedded_postgres import read_endpoint
from atom.infra.postgres_errors import translated
from atom.infra.schema import migrate
from atom.llm.choice import choose
from atom.llm.errors import ModelNotConfiguredError
from atom.llm.notes import note_for
from atom.ops.bootstrap import TOKEN_FILE
from atom.settings import Settings, load
from atom.web.server import ALL_ROLES, Ready, Server, open_socket, run_process
from atom.wiring import Atom, build

LOG_FILE = Path("logs") / "atom.log"


def up(
    *,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Create the agent `guide` and give it a task.")] = False,
    once: Annotated[bool, typer.Option("--once", help="End after the start, or after the demo.")] = False,
) -> None:
    """Start Atom here: database, API and worker in one process tree. Ctrl-C ends it; nothing is lost."""
    began = time.monotonic()
    settings = load(web={} if port is None else {"port": port})
    check_url(settings)
    if settings.database.url is None and read_endpoint(settings.home) is None:
        choose(settings.llm)  # nothing is in a vault yet: what cannot work is told before anything starts
    start = Start(settings, Output.open(as_json=False), began, demo=demo, once=once)
    try:
        drained = start.run()
    except KeyboardInterrupt:  # while it was starting: there is nothing to drain
        drained = False
    start.out.line("Atom has ended.")
    if not drained:
        raise typer.Exit(INTERRUPTED)
    if start.demo_failed:
        raise typer.Exit(NO)


@dataclass(slots=True)
class Start:
    """One `atom up`, and what the person in front of it reads."""

    settings: Settings
    out: Output
    began: float
    demo: bool
    once: bool
    demo_failed: bool = False
    note: str | None = None

    @property
    def log_file(self) -> Path:
        return self.settings.logging.file or self.settings.home / LOG_FILE

    def run(self) -> bool:
        """The home first, then the port, then the database: what is refused is refused before anything runs."""
        settings = self.settings
        with occupied(settings.home) as place:
            self._open_log()
            with open_socket(settings.web) as listening, open_database(settings) as database:
                self.out.line(f"Atom {__version__} is starting on {settings.home} ...")
                migrate(database.direct)
                sized = settings.model_copy(update={"database": fit(settings.database, database.direct)})
                atom = build(sized, database.url, database.direct)

                async def ready(found: Ready) -> bool:
                    place.announce(found.url)
                    return await self._ready(atom, found)

                watched = (database.watch,) if database.embedded else ()
                return run_process(Server(atom, ALL_ROLES, ready, watched, listening, self._on_signal))

    def _open_log(self) -> None:
        with translated(self.settings.home):
            (self.settings.home / LOG_FILE.parent).mkdir(mode=0o700, exist_ok=True)
        log.configure(self.settings.logging.level, self.log_file, stdout=not (sys.stdout.isatty() or self.demo))

    async def _ready(self, atom: Atom, found: Ready) -> bool:
        self._tell(atom, found)
        if self.demo:
            self.demo_failed = not await demonstration.show(atom, found.url)
        if not self.once:
            self.out.line("\nAtom is serving. Ctrl-C ends it; nothing is lost.")
        return self.once

    def _tell(self, atom: Atom, found: Ready) -> None:
        self.out.line(f"Atom is ready after {time.monotonic() - self.began:.1f} s.\n")
        rows = [
            ("URL", found.url),
            ("Admin token", f"{self.settings.home / TOKEN_FILE} (only this user reads it)"),
            ("Model", self._model(atom)),
            ("Log", str(self.log_file)),
        ]
        self.out.fields(rows)
        if found.new_token:
            self.out.line(f"\nYour admin token, shown this once: {found.new_token}")
        if self.note and not self.demo:  # the run of the demonstration says it
            self.out.line(f"\n{self.note}")

    def _model(self, atom: Atom) -> str:
        """Without one Atom serves all the same: keys are added, and the order is mended, while it runs."""
        try:
            chosen = atom.parts.models.llm.choose()
        except ModelNotConfiguredError as error:
            return f"none. {error.message} {error.hint}"
        self.note = note_for(chosen.provider, self.settings.llm)
        return f"{chosen.name} ({chosen.reason})"

    def _on_signal(self) -> None:
        self.out.line("\nAtom is ending: what runs now reaches its next step first. Ctrl-C again ends it at once.")
