"""Every setting there is, in groups: typed, bounded, described, frozen."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _expand(cls, value: object) -> object:
        """`~` in a path is a shell's word; unit files and manifests do not expand it."""
        if not isinstance(value, Path):
            return value
        try:
            return value.expanduser()
        except RuntimeError:
            raise ValueError("this user's home directory is not known, write the path out") from None


class DatabaseSettings(Group):
    url: SecretStr | None = Field(
        default=None, description="postgresql://user:password@host:port/database. Unset: the embedded PostgreSQL."
    )
    direct_url: SecretStr | None = Field(
        default=None,
        description="The server itself when url goes through PgBouncer: for LISTEN, migrations and the queue.",
    )
    pool_size: int = Field(default=20, ge=1, le=500, description="Connections kept open by one process.")
    max_overflow: int = Field(default=10, ge=0, le=500, description="Connections more under load.")
    pool_timeout: float = Field(
        default=3.0, gt=0, le=60, description="Seconds to wait for a free connection before a 503."
    )
    connect_timeout: int = Field(
        default=5, ge=1, le=60, description="Seconds to wait for the server to take a connection."
    )
    statement_timeout: float = Field(
        default=30.0, gt=0, le=3600, description="Seconds after which the server ends a statement."
    )
    idle_in_transaction_timeout: float = Field(
        default=10.0,
        ge=1,
        le=600,
        description="Seconds after which the server ends a transaction whose process does nothing: its locks are free.",
    )
    budget: Literal["warn", "refuse"] = Field(
        default="warn",
        description="When pools of all replicas exceed max_connections: shrink and warn, or refuse to start.",
    )
    replicas: int = Field(
        default=1, ge=1, le=1000, description="How many Atom processes share this database, for the connection budget."
    )
    prepared_statements: bool = Field(default=True, description="Set false behind PgBouncer in transaction mode.")


class RedisSettings(Group):
    url: SecretStr | None = Field(
        default=None, description="redis://host:port/0. Unset: Redis is disabled, and Atom is still healthy."
    )
    timeout: float = Field(default=0.2, gt=0, le=10, description="Seconds one Redis operation may take.")


class WebSettings(Group):
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allowed_hosts: Names = Field(
        default=("localhost", "127.0.0.1", "[::1]"),
        description="Values of the Host header that are served, comma-separated.",
    )
    allowed_origins: Names = Field(
        default=(), description="Origins beside its own that may call, comma-separated, each scheme://host[:port]."
    )
    metrics_public: bool = Field(default=True, description="Serve /metrics without a credential.")
    max_body_bytes: int = Field(
        default=1_000_000, ge=1_000, le=100_000_000, description="Largest request body, uploads apart."
    )
    max_upload_bytes: int = Field(default=10_000_000, ge=1_000, le=1_000_000_000, description="Largest uploaded file.")
    answer_seconds: float = Field(
        default=600.0,
        gt=0,
        le=86_400,
        description="Seconds an OpenAI-compatible call waits for its run before it answers that the run goes on.",
    )
    drain_seconds: float = Field(
        default=20.0, ge=0, le=600, description="Seconds that requests and runs may take to end after SIGTERM."
    )


class LoggingSettings(Group):
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    file: Path | None = Field(default=None, description="Also write the log here (the guide's /var/log/atom/atom.log).")


class Provider(StrEnum):
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    AZURE = "azure"
    BEDROCK = "bedrock"
    COMPATIBLE = "compatible"
    LOCAL = "local"
    SCRIPTED = "scripted"


class TracingSettings(Group):
    enabled: bool = Field(
        default=False,
        description="Export spans of runs, model calls and tool calls to an OpenTelemetry collector (OTLP over HTTP). "
        "Needs the extra otel.",
    )
    endpoint: str = Field(
        default="http://localhost:4318",
        pattern=r"^https?://\S+$",
        description="The collector's address; /v1/traces is added to it.",
    )
    headers: SecretStr | None = Field(
        default=None, description="Headers the collector asks for, comma-separated, each name=value."
    )
    content: bool = Field(
        default=False,
        description="Also export the texts: instructions, prompts, answers, arguments and results of tools. They leave "
        "this deployment then, with whatever people wrote into them.",
    )


class LocalModelSettings(Group):
    model_path: Path | None = Field(
        default=None,
        description="GGUF file of a chat model that the provider local runs. Unset: the built-in demo model. Changing "
        "the file takes a restart.",
    )
    context_tokens: int = Field(
        default=8192, ge=512, le=1_048_576, description="Tokens that model sees at once; more of them take more memory."
    )
    threads: int | None = Field(
        default=None, ge=1, le=512, description="Threads that model computes with. Unset: one for every two CPUs."
    )


class LlmSettings(Group):
    provider: Provider | None = Field(
        default=None, description="Which provider is asked first. Unset: the first one with a key, else local."
    )
    openai_api_key: SecretStr | None = Field(default=None, description="Key for OpenAI or a compatible endpoint.")
    openai_base_url: str | None = Field(
        default=None, description="Another OpenAI-compatible endpoint (Ollama, vLLM, ...)."
    )
    openai_model: str = Field(default="gpt-5.4-mini", description="Model asked at openai when the agent names none.")
    anthropic_api_key: SecretStr | None = Field(default=None, description="Key for Anthropic.")
    anthropic_base_url: str | None = Field(default=None, description="Another Anthropic-compatible endpoint.")
    anthropic_model: str = Field(
        default="claude-sonnet-5-5", description="Model asked at anthropic when the agent names none."
    )
    gemini_api_key: SecretStr | None = Field(default=None, description="Key for Google Gemini.")
    gemini_base_url: str | None = Field(default=None, description="Another Gemini-compatible endpoint.")
    gemini_model: str = Field(
        default="gemini-3.8-flash", description="Model asked at gemini when the agent names none."
    )
    failover: bool = Field(
        default=True, description="Ask the next route when one fails. Off: only what was asked for answers, or nothing."
    )
    provider_wait_seconds: float = Field(
        default=3600.0,
        ge=0,
        le=604_800,
        description="How long a run waits for a provider to come back before it fails.",
    )
    scripted_path: Path | None = Field(
        default=None, description="Replies of the scripted model, a JSON file: for tests and drills."
    )
    timeout: float = Field(default=60.0, gt=0, le=3600, description="Seconds one attempt at a model may take in all.")
    first_byte_timeout: float = Field(
        default=30.0, gt=0, le=3600, description="Seconds until a model must begin to answer."
    )
    idle_timeout: float = Field(
        default=20.0, gt=0, le=3600, description="Seconds of silence in a stream before it is given up."
    )
    streaming: bool = Field(
        default=True,
        description="Off: ask for whole answers, for an endpoint or proxy that cannot stream. For one key: its option "
        "`streaming=off`. A whole answer has to come within `timeout`.",
    )
    slow_seconds: float = Field(
        default=15.0, gt=0, le=3600, description="A call longer than this logs `llm slow response`."
    )
    attempts: int = Field(
        default=3, ge=1, le=10, description="Tries of one model call when the failure is a passing one."
    )
    max_tokens: int = Field(default=4096, ge=16, le=200_000, description="Most tokens one reply may have.")
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="How freely models choose their words. Unset: the provider's default."
    )
    cache: Literal["off", "exact", "sampled"] = Field(
        default="exact",
        description="Response cache: `exact` keeps answers of temperature 0, `sampled` all without tool calls.",
    )
    cache_ttl: float = Field(default=3600.0, gt=0, le=2_592_000, description="Seconds an answer stays in the cache.")
    cache_max_bytes: int = Field(
        default=64_000_000, ge=10_000, le=10_000_000_000, description="Most bytes of the cache; the oldest go first."
    )
    catalogue_path: Path | None = Field(
        default=None, description="JSON file with context sizes and prices of models, over what ships."
    )
    local: LocalModelSettings = LocalModelSettings()

    @field_validator("openai_base_url", "anthropic_base_url", "gemini_base_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        """What is asked with a key: an address that a typing error made is better told at the start."""
        if not value:
            return None
        try:
            parts = urlsplit(value)
            good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
            good = good and not parts.query and not parts.fragment
        except ValueError:
            good = False
        if not good or not value.isascii() or any(map(str.isspace, value)):
            raise ValueError("this is not an http(s) address such as https://host:port/v1")
        return value


class VaultSettings(Group):
    kek: SecretStr | None = Field(
        default=None,
        description="The vault's key-encryption key: 32 random bytes in base64 or hex. Several: the current one first, "
        "comma-separated. A file is safer than the environment.",
    )
    kek_file: Path | None = Field(
        default=None,
        description="File with the vault's key-encryption keys, one a line, the current one first. Unset: vault.key in "
        "home, made when the first key is added.",
    )
    kms: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]{0,100}$", description="Plug-in (atom.kms) that wraps keys in its stead."
    )


class AuditSettings(Group):
    anchor_file: Path | None = Field(
        default=None,
        description="Append-only file of signed anchors of the audit chain. Unset: audit-anchors.jsonl in home.",
    )
    anchor_seconds: float = Field(
        default=60.0, ge=0.1, le=86_400, description="Seconds after which what is new in the audit chain is anchored."
    )
    anchor_rows: int = Field(
        default=1000, ge=1, le=1_000_000, description="An anchor for at least every so many audit rows."
    )
    key_file: Path | None = Field(
        default=None,
        description="File with the Ed25519 private key (PEM) that signs anchors. Unset: audit.key in home, made when "
        "the first anchor is written.",
    )


class RunSettings(Group):
    max_concurrent: int = Field(default=8, ge=1, le=500, description="Runs one worker process works on at once.")
    max_running: int = Field(
        default=200, ge=1, le=10_000, description="Runs all workers of the deployment work on at once."
    )
    max_running_per_agent: int = Field(
        default=50,
        ge=1,
        le=10_000,
        description="Runs of one agent at work at once, unless the agent has its own limit.",
    )
    max_depth: int = Field(
        default=4, ge=0, le=16, description="How deep runs may nest: an agent that calls an agent that calls another."
    )
    lease_seconds: float = Field(
        default=8.0, ge=1, le=300, description="A worker that is silent for this long has lost its run."
    )
    sweep_seconds: float = Field(
        default=1.0, ge=0.1, le=60, description="How often runs without a live worker are looked for."
    )
    max_turns: int = Field(default=20, ge=1, le=500, description="Most model calls of one run.")
    max_tool_calls: int = Field(default=50, ge=0, le=2000, description="Most tool calls of one run.")
    max_tokens: int = Field(default=400_000, ge=1_000, description="Most tokens one run may use, input and output.")
    wall_seconds: float = Field(
        default=900.0, gt=0, le=86_400, description="Longest a run may work, waits for people apart."
    )
    max_invalid_calls: int = Field(default=3, ge=1, le=20, description="Bad tool calls in a row before the run fails.")
    max_task_chars: int = Field(default=100_000, ge=100, le=2_000_000, description="Longest task, in characters.")


class GovernanceSettings(Group):
    cache_entries: int = Field(
        default=50_000, ge=100, le=5_000_000, description="Most decisions the cache of a process keeps."
    )
    cache_seconds: float = Field(
        default=600.0, gt=0, le=86_400, description="Longest a decision stays in the cache. A change ends it at once."
    )
    approval_seconds: float = Field(
        default=86_400.0,
        ge=1,
        le=2_592_000,
        description="How long people have to decide what an agent asks; a policy may give them less.",
    )
    webhook_allow: Names = Field(
        default=(),
        description="Hosts that webhooks may go to, comma-separated, written as for ATOM_TOOLS__HTTP_ALLOW. Empty: "
        "every public host, over https. Inner hosts only when they are named here.",
    )
    webhook_seconds: float = Field(default=10.0, gt=0, le=60, description="Seconds that a receiver has to answer.")


class WorkspaceSettings(Group):
    url: str = Field(
        default="",
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?)?$",
        description="s3://bucket/prefix, for several hosts that share the agents' files. Unset: a folder of home.",
    )
    endpoint: str = Field(
        default="", pattern=r"^(https?://\S+)?$", description="The bucket's service, when it is not Amazon's."
    )
    region: str = Field(default="us-east-1", description="Region of the bucket.")
    access_key_id: str = Field(default="", description="Unset: what the environment of the process provides.")
    secret_access_key: SecretStr | None = Field(default=None, description="Belongs to access_key_id.")
    max_files: int = Field(default=10_000, ge=1, le=100_000, description="Most files of one agent's workspace.")
    max_bytes: int = Field(default=2_000_000_000, ge=1_000, description="Most bytes of one agent's workspace.")


class MemorySettings(Group):
    embedder: Literal["local", "openai", "none"] = Field(
        default="local",
        description="What finds by meaning: the local model where it is installed, an endpoint that speaks OpenAI's "
        "Embeddings, or none (words only). Changing it embeds all again in the background.",
    )
    embedder_url: str = Field(
        default="https://api.openai.com/v1",
        pattern=r"^https?://[^\s@?#]+$",
        description="Where that endpoint is: /embeddings is added. Texts of episodes are sent there.",
    )
    embedder_model: str = Field(
        default="text-embedding-3-small",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:/@-]{0,79}$",
        description="The model asked there. Models whose vectors differ need names that differ.",
    )
    embedder_key: SecretStr | None = Field(default=None, description="Key for that endpoint, where it takes one.")
    embedder_timeout: float = Field(
        default=30.0, gt=0, le=600, description="Seconds that endpoint has for a batch of texts."
    )
    embedder_question_timeout: float = Field(
        default=2.0, gt=0, le=60, description="Seconds a recall waits for a question's vector; then words answer."
    )
    episode_decay_days: int = Field(
        default=30, ge=1, le=3650, description="Days after which an episode that nobody recalls has half its weight."
    )
    recall_limit: int = Field(default=20, ge=1, le=200, description="Most segments that one recall returns.")
    recall_tokens: int = Field(
        default=4_000, ge=100, le=200_000, description="Most tokens, by estimate, of the segments of one recall."
    )
    recall_at_start: Literal["trusted", "all", "off"] = Field(
        default="trusted",
        description="What a run is told at its start of earlier ones. `trusted`: episodes with words from outside are "
        "only mentioned; `all`: they are quoted too, and label the run; `off`: nothing.",
    )
    recall_at_start_tokens: int = Field(
        default=1_000, ge=100, le=50_000, description="Most tokens, by estimate, that a run is told so."
    )
    recall_at_start_seconds: float = Field(
        default=2.0, gt=0, le=60, description="Seconds that may take; after that a run begins without."
    )
    consolidation_threshold: int = Field(
        default=100,
        ge=2,
        le=1_000_000,
        description="Hot episodes of an agent above which consolidation works on it, until half as many are left.",
    )
    consolidate_every_hours: float = Field(
        default=24.0, ge=0, le=8_760, description="How often the schedule consolidates; 0: never."
    )
    archive_after_days: int = Field(
        default=90,
        ge=1,
        le=36_500,
        description="Days after which the schedule archives what nobody has recalled: its texts go to the cold store.",
    )
    archive_every_hours: float = Field(
        default=24.0, ge=0, le=8_760, description="How often the schedule archives, and forgets by retention; 0: never."
    )
    cold_url: str = Field(
        default="",
        pattern=r"^((s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|file:///[^?#]*)(/[A-Za-z0-9._/-]*)?)?$",
        description="Cold store: s3://bucket/prefix or file:///folder. Unset: the folder cold of home.",
    )
    cold_endpoint: str = Field(
        default="", pattern=r"^(https?://\S+)?$", description="The bucket's service, when it is not Amazon's."
    )
    cold_region: str = Field(default="us-east-1", description="Region of the bucket.")
    cold_access_key_id: str = Field(default="", description="Unset: what the environment of the process provides.")
    cold_secret_access_key: SecretStr | None = Field(default=None, description="Belongs to cold_access_key_id.")
    cold_timeout: float = Field(default=60.0, gt=0, le=600, description="Seconds that one object may take.")
    cold_recall_seconds: float = Field(
        default=2.0, gt=0, le=60, description="Seconds a recall waits for cold bodies; then it shows summaries."
    )
    cold_object_bytes: int = Field(
        default=16_000_000, ge=1_000, le=500_000_000, description="Most bytes of texts that one cold object is made of."
    )
    cold_keep_days: int = Field(
        default=7,
        ge=0,
        le=3_650,
        description="Days that objects nobody needs stay, for backups of the database that still name them.",
    )


class ToolSettings(Group):
    http_allow: Names = Field(
        default=(),
        description="Hosts http_get may reach, comma-separated. `example.com` and `*.example.com` (every name below "
        "it): ports 80 and 443, or with `:port` that port only; `*`: every public host; `internal:host` or "
        "`internal:host:port`: that exact name, also on an inner address; `10.1.2.3:8080` or `[::1]:8080`: that exact "
        "address, also an inner one. Empty: every public host. Cloud metadata addresses are never reached.",
    )
    http_timeout: float = Field(default=10.0, gt=0, le=120, description="Seconds one http_get may take in all.")
    http_max_bytes: int = Field(default=5_000_000, ge=1_000, le=50_000_000, description="Largest body http_get reads.")
    max_file_bytes: int = Field(
        default=10_000_000, ge=1_000, le=100_000_000, description="Largest file a tool reads or writes."
    )


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
    memory_mb: int = Field(default=2048, ge=32, le=1_048_576, description="MiB of memory one execution may hold.")
    cpus: float = Field(default=2.0, ge=0.1, le=1024, description="Processors one execution may keep busy.")
    timeout: float = Field(default=300.0, gt=0, le=86_400, description="Seconds after which an execution is ended.")
    pids: int = Field(default=128, ge=4, le=32_768, description="Processes and threads of one execution.")
    output_bytes: int = Field(
        default=1_000_000, ge=1_000, le=100_000_000, description="Bytes that one execution may print."
    )
    disk_mb: int = Field(default=256, ge=1, le=65_536, description="MiB of files one execution may write.")


class Settings(Group):
    home: Path = Field(
        description="Folder of the embedded database, the token, logs and workspaces. "
        "Unset: /var/lib/atom for root, else the user's data folder (on Linux ~/.local/share/atom)."
    )
    url: str | None = Field(default=None, description="Where the CLI finds Atom.")
    token: SecretStr | None = Field(default=None, description="The CLI's API key.")
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    web: WebSettings = WebSettings()
    logging: LoggingSettings = LoggingSettings()
    tracing: TracingSettings = TracingSettings()
    llm: LlmSettings = LlmSettings()
    vault: VaultSettings = VaultSettings()
    audit: AuditSettings = AuditSettings()
    runs: RunSettings = RunSettings()
    governance: GovernanceSettings = GovernanceSettings()
    workspaces: WorkspaceSettings = WorkspaceSettings()
    memory: MemorySettings = MemorySettings()
    tools: ToolSettings = ToolSettings()
    sandbox: SandboxSettings = SandboxSettings()
