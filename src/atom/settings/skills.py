"""Settings of skills and of what they run in."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from atom.settings.kinds import Group, Names, Size


class SandboxSettings(Group):
    backend: Literal["auto", "bwrap", "landlock", "docker"] = Field(
        default="auto",
        description="What confines skills. auto: bubblewrap where it works, else Landlock, else Docker. "
        "Never a plain process.",
    )
    docker_host: str = Field(
        default="unix:///var/run/docker.sock",
        pattern="^unix:///.+",
        description="The socket of the Docker engine, for the backend docker.",
    )
    docker_runtime: str | None = Field(
        default=None,
        description="The engine's runtime for containers. Unset: runsc (gVisor) where it is there and keeps enough, "
        "else the engine's own.",
    )
    image: str = Field(default="atom-sandbox:latest", min_length=1, description="The image of the backend docker.")
    pool: int = Field(
        default=2, ge=0, le=64, description="Containers that are started ahead, each for one execution (docker)."
    )
    memory: Size = Field(default="2g", description="Memory one execution may hold: bytes, or with k, m or g behind.")
    cpus: float = Field(default=2.0, ge=0.1, le=1024, description="Processors one execution may keep busy.")
    timeout: float = Field(default=300.0, gt=0, le=86_400, description="Seconds after which an execution is ended.")
    pids: int = Field(default=128, ge=4, le=32_768, description="Processes and threads of one execution.")
    output_bytes: int = Field(
        default=1_000_000, ge=1_000, le=100_000_000, description="Bytes that one execution may print."
    )
    disk: Size = Field(default="256m", description="Files one execution may write: bytes, or with k, m or g behind.")
    transfer: Size = Field(
        default="256m", description="What one execution may move to and from its hosts, together: as disk."
    )
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
    wheels: Path | None = Field(
        default=None,
        description="Folder of wheels that packages of skills are installed from. Unset, and no index: none are.",
    )
    index: SecretStr | None = Field(
        default=None,
        description="Package index (PEP 503) that packages of skills are installed from; https, or http on this "
        "machine. A folder in ATOM_SANDBOX__WHEELS goes before it. Unset: none.",
    )

    @field_validator("index")
    @classmethod
    def _encrypted(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else ""
        parts = urlsplit(text)
        inner = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}
        outer = parts.scheme == "https" and bool(parts.hostname)
        if text and not ((outer or inner) and text.isprintable() and " " not in text):
            raise ValueError("it has to be an https address, or http on this machine")
        return value


class SkillSettings(Group):
    import_allow: Names = Field(
        default=(),
        description="Hosts that skills may be imported from by address, written as in ATOM_TOOLS__HTTP_ALLOW. Empty: "
        "every public host. GitHub's archives lie on codeload.github.com: a list that names github.com names it, too.",
    )
    import_seconds: float = Field(default=60.0, gt=0, le=600, description="Seconds such an import may take to fetch.")
