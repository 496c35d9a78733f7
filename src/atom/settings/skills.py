"""Settings of skills and of what they run in."""

from typing import Literal

from pydantic import Field, SecretStr

from atom.settings.kinds import Group, Size


class SandboxSettings(Group):
    backend: Literal["auto", "bwrap", "landlock"] = Field(
        default="auto",
        description="What confines skills. auto: bubblewrap where it works, else Landlock. Never a plain process.",
    )
    memory: Size = Field(default="2g", description="Memory one execution may hold: bytes, or with k, m or g behind.")
    cpus: float = Field(default=2.0, ge=0.1, le=1024, description="Processors one execution may keep busy.")
    timeout: float = Field(default=300.0, gt=0, le=86_400, description="Seconds after which an execution is ended.")
    pids: int = Field(default=128, ge=4, le=32_768, description="Processes and threads of one execution.")
    output_bytes: int = Field(
        default=1_000_000, ge=1_000, le=100_000_000, description="Bytes that one execution may print."
    )
    disk: Size = Field(default="256m", description="Files one execution may write: bytes, or with k, m or g behind.")
    runner: str = Field(
        default="",
        description="Address of the process that runs skills: unix:///path or tcp://host:port. Empty: Atom starts one.",
    )
    listen: str = Field(
        default="", description="Where `atom serve --role sandbox` listens. Empty: sandbox.sock in the home folder."
    )
    key: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="What Atom and a runner apart from it both know. Not set: the file sandbox.key in the home folder.",
    )
    keep_days: int = Field(
        default=90, ge=1, le=36_500, description="Days that executions of skills are kept, with their files."
    )
