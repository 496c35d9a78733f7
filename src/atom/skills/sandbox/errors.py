"""What can keep a sandbox from being there."""

from atom.errors import UnavailableError


class NoSandboxError(UnavailableError):
    """No backend of this machine keeps what must be kept. `reasons` says what each of them lacks."""

    code = "no_sandbox"

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(
            "No sandbox works on this machine, so nothing is run.",
            hint="`atom skills sandbox probe` shows what each lacks, docs/operate/sandbox.md what to do.",
            reasons=reasons,
        )
