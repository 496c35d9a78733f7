"""One container: made with every limit, started, asked once, and removed."""

import marshal
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atom.skills.sandbox import supervisor
from atom.skills.sandbox.adapters.docker import owners, profile, replies
from atom.skills.sandbox.adapters.docker.engine import Attached, Engine, EngineError
from atom.skills.sandbox.languages import PATH
from atom.skills.sandbox.models import MIB, Limits
from atom.skills.sandbox.place import NOBODY
from atom.skills.sandbox.supervisor import wire
from atom.skills.sandbox.supervisor.cgroup import PERIOD
from atom.skills.sandbox.supervisor.contained import WORK
from atom.skills.sandbox.supervisor.folder import FILES_SEEN

PREFIX = "atom-sandbox-"
OWN_MEMORY = 6 * MIB  # what the supervisor inside holds by itself
OWN_PROCESSES = 1
LAYERS = "/layers"
SHARED = 65_536  # bytes of /dev/shm: enough for the semaphores of libraries, no way around the disk's limit
OOM_SCORE = 500  # the machine is out of memory: a container goes before everything else
LEAST_QUOTA = 1000  # microseconds, that an engine takes

# Takes the supervisor's modules as they are here, so that an image needs a Python and nothing of Atom.
BOOT = """
import marshal, os, sys
def take(count):
    parts = b""
    while len(parts) < count:
        part = os.read(0, count - len(parts))
        if not part:
            os._exit(0)
        parts += part
    return parts
sources = marshal.loads(take(int.from_bytes(take(8), "little")))
class Sent:
    def find_spec(name, path=None, target=None):
        found = name in sources
        return type(__spec__ or sys.__spec__)(name, Sent, is_package=not sources[name]) if found else None
    def create_module(spec):
        return None
    def exec_module(module):
        exec(compile(sources[module.__name__], module.__name__, "exec"), module.__dict__)
sys.meta_path.insert(0, Sent)
from atom.skills.sandbox.supervisor import contained
contained.serve()
os._exit(0)
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a container is made with, and what it cannot be given afterwards. Sizes are bytes.

    `layers` are folders of this machine that it can read, as `/layers/0` and so on.
    """

    memory: int
    cpus: float
    pids: int
    disk: int
    layers: tuple[str, ...] = ()

    @classmethod
    def of(cls, limits: Limits, layers: tuple[str, ...] = ()) -> "Shape":
        return cls(limits.memory, limits.cpus, limits.pids, limits.disk, layers)


@dataclass(frozen=True, slots=True)
class Maker:
    """What all containers of one sandbox share. `runtime` is empty for the engine's own."""

    engine: Engine
    owner: owners.Owner
    image: str
    runtime: str = ""

    async def make(self, shape: Shape, name: str) -> "Container":
        """A container that waits for its request. Raises EngineError; nothing is left then."""
        try:
            labels = self.owner.labels()
        except OSError as error:
            raise EngineError(f"No lease can be held: {error.strerror}.") from error
        body = creation(self.image, shape, labels, self.runtime)
        made = await self.engine.call("POST", "/containers/create", body=body, query={"name": PREFIX + name})
        attached: Attached | None = None
        try:
            attached = await self.engine.attach(made["Id"])
            await self.engine.call("POST", f"/containers/{made['Id']}/start")
            await attached.send(_packed(sources()))
            programs = await replies.hello(attached.exactly)
        except (EngineError, replies.BadReplyError) as error:
            if attached is not None:
                attached.close()
            await owners.remove(self.engine, made["Id"])
            raise EngineError(str(error)) from error
        return Container(self.engine, made["Id"], name, attached, programs)


@dataclass(slots=True)
class Container:
    """`programs` are its interpreters by language. `answered`: its supervisor has ended everything, and itself."""

    engine: Engine
    id: str
    name: str
    attached: Attached
    programs: Mapping[str, str]
    answered: bool = False

    async def rename(self, name: str) -> None:
        """So that people find an execution by its id. Raises EngineError."""
        if name == self.name:
            return
        await self.engine.call("POST", f"/containers/{self.id}/rename", query={"name": PREFIX + name})
        self.name = name

    async def ask(self, request: wire.Request, limits: Limits) -> replies.Reply:
        """The reply. Raises EngineError, BadReplyError."""
        token = secrets.token_hex(16)
        await self.attached.send(wire.pack({**request, "token": token}))
        reply = await replies.reply(self.attached.exactly, token, limits)
        self.answered = True
        return reply

    async def out_of_memory(self) -> bool:
        """Whether the engine saw the kernel end something in it, for one that ended without a word."""
        return await self.engine.saw("oom", self.id)

    async def remove(self) -> None:
        """Raises EngineError when the engine does not; the next start finds it then."""
        self.attached.close()
        await owners.remove(self.engine, self.id)


def creation(image: str, shape: Shape, labels: Mapping[str, str], runtime: str) -> dict[str, object]:
    """The request that makes a container. What is said here is only believed once a canary has tried it."""
    user = f"{NOBODY}:{NOBODY}"
    own = f"uid={NOBODY},gid={NOBODY}"
    memory = shape.memory + OWN_MEMORY
    work = f"rw,exec,nosuid,nodev,size={shape.disk},nr_inodes={FILES_SEEN},mode=0700,{own}"
    return {
        "Image": image,
        "Entrypoint": ["python3", "-I", "-S", "-B", "-X", "utf8", "-c", BOOT],
        "Cmd": [],
        "Env": [f"PATH={PATH}", "LANG=C.UTF-8"],
        "User": user,
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "Labels": dict(labels),
        "Healthcheck": {"Test": ["NONE"]},
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {
            "AutoRemove": True,
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "Tmpfs": {WORK: work, "/dev/shm": f"rw,noexec,nosuid,nodev,size={SHARED},mode=0700,{own}"},  # noqa: S108
            "Mounts": [_layer(number, path) for number, path in enumerate(shape.layers)],
            "IpcMode": "none",
            "Memory": memory,
            "MemorySwap": memory,
            "CpuPeriod": PERIOD,
            "CpuQuota": max(LEAST_QUOTA, int(shape.cpus * PERIOD)),
            "PidsLimit": shape.pids + OWN_PROCESSES,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={profile.text()}"],
            "OomScoreAdj": OOM_SCORE,
            "Init": False,  # the supervisor inside is the first process: what is not could be ended by the program
            "LogConfig": {"Type": "none"},
            "RestartPolicy": {"Name": "no"},
            **({"Runtime": runtime} if runtime else {}),
        },
    }


def _layer(number: int, path: str) -> dict[str, object]:
    """A folder that is not there is an error of the engine, never made."""
    inside = f"{LAYERS}/{number}"
    return {"Type": "bind", "Source": path, "Target": inside, "ReadOnly": True, "BindOptions": {"NonRecursive": True}}


def sources() -> dict[str, str]:
    """The supervisor's modules by name; packages are empty."""
    package = supervisor.__name__
    parents = package.split(".")
    found = {".".join(parents[: depth + 1]): "" for depth in range(len(parents))}
    for path in Path(supervisor.__file__).parent.glob("*.py"):
        if path.stem != "__init__":
            found[f"{package}.{path.stem}"] = path.read_text("utf-8")
    return found


def _packed(value: Mapping[str, str]) -> bytes:
    body = marshal.dumps(dict(value), wire.VERSION)
    return len(body).to_bytes(wire.LENGTH, "little") + body
