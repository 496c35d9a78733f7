"""Each backend of this machine, as root and as an ordinary user, probed once."""

import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from atom.settings import SandboxSettings
from atom.skills.sandbox import service
from atom.skills.sandbox.adapters.docker.container import PREFIX
from atom.skills.sandbox.adapters.keeper import SOURCE
from atom.skills.sandbox.adapters.supervised import SupervisedSandbox
from atom.skills.sandbox.languages import reachable
from atom.skills.sandbox.models import Language, Limits, Report, Result, Spec
from atom.skills.sandbox.place import NOBODY, Account, Place
from tests.support.outside import authority, serving
from tests.support.own_docker import IMAGE, NoDockerError, OwnDocker, running
from tests.support.site import HOST, Site

ORDINARY = Account(61_234, 61_234)  # nobody's
BACKENDS = [f"{backend}-{user}" for backend in ("bwrap", "landlock") for user in ("root", "ordinary")] + ["docker-root"]

# `attempt` says what came of a call; whatever is in `out` is the program's result.
PRELUDE = """
import atexit, ctypes, errno, json, os, socket, sys, time
given = json.load(sys.stdin)
libc = ctypes.CDLL(None, use_errno=True)
arm = os.uname().machine == "aarch64"
out = {}
def attempt(name, call):
    try:
        out[name] = "DONE " + repr(call())[:300]
    except Exception as error:
        out[name] = type(error).__name__ + ": " + str(error)
def syscall(numbers, *arguments):
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    if libc.syscall(ctypes.c_long(numbers[arm]), *passed) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return "done"
def tell():
    os.write(3, (os.environ["SKILL_RESULT_NONCE"] + " " + json.dumps(out)).encode())
atexit.register(tell)
"""


@dataclass(frozen=True, slots=True)
class Box:
    """A sandbox, and its engine."""

    sandbox: service.Backend
    report: Report
    docker: OwnDocker | None = None

    @property
    def reaching(self) -> SupervisedSandbox:
        """One that can let a program reach hosts; skips where it is a container, which has none."""
        if not isinstance(self.sandbox, SupervisedSandbox):
            pytest.skip("a container reaches no hosts")
        return self.sandbox

    @property
    def owner(self) -> tuple[int, int] | None:
        """Whom its supervisors run as; None: this process's user."""
        if self.docker is not None:
            return NOBODY, NOBODY
        account = self.sandbox.place.account
        return None if account is None else (account.uid, account.gid)

    async def run(
        self,
        source: str,
        given: object = None,
        *,
        language: Language = Language.PYTHON,
        files: Mapping[str, bytes] | None = None,
        limits: Limits | None = None,
        hosts: tuple[str, ...] = (),
    ) -> Result:
        every = {**(files or {}), "main": source.encode()}
        limits = limits or Limits(seconds=20)
        sandbox = self.reaching if hosts else self.sandbox
        return await sandbox.run(Spec(language, "main", every, json.dumps(given).encode(), limits, hosts=hosts))

    async def attempts(
        self, source: str, given: object = None, limits: Limits | None = None, hosts: tuple[str, ...] = ()
    ) -> dict[str, str]:
        """What the attempts of a program came to."""
        done = await self.run(PRELUDE + source, given, limits=limits, hosts=hosts)
        assert isinstance(done.value, dict), (done.reason, done.detail, done.stderr)
        return done.value

    @property
    def grouped(self) -> bool:
        """Whether a control group bounds an execution."""
        return self.docker is not None or self.owner is None

    async def left(self) -> list[str]:
        """What executions left in the sandbox's folder, or of containers."""
        if self.docker is None or isinstance(self.sandbox, SupervisedSandbox):
            return sorted(path.name for path in self.sandbox.place.folder.iterdir())
        await self.sandbox.pool.settled()
        return [name for name in self.docker.containers() if not name.startswith(f"{PREFIX}ready-")]

    async def kill_supervisor(self, execution_id: UUID) -> None:
        """By force, from outside."""
        if self.docker is None:
            assert isinstance(self.sandbox, SupervisedSandbox)
            self.sandbox.running[execution_id].kill()
        else:
            self.docker.kill(f"{PREFIX}{execution_id}")

    def settings(self) -> SandboxSettings:
        """Those that open such a sandbox once more."""
        return settings_of(self.sandbox.name, self.docker)


def settings_of(backend: str, docker: OwnDocker | None) -> SandboxSettings:
    engine = {} if docker is None else {"docker_host": docker.host, "image": IMAGE, "pool": 1}
    return SandboxSettings.model_validate({"backend": backend, **engine})


def supervised(name: str, parent: Path) -> SupervisedSandbox:
    found = sandbox_of(name, parent)
    assert isinstance(found, SupervisedSandbox)
    return found


def sandbox_of(name: str, parent: Path, docker: OwnDocker | None = None) -> service.Backend:
    """Skips, with the reason, where this machine cannot run it."""
    backend, user = name.split("-")
    account = ORDINARY if user == "ordinary" and os.geteuid() == 0 else None
    if user == "root" and os.geteuid() != 0:
        pytest.skip("these tests do not run as root")
    if account is not None and not reachable(Path(SOURCE), as_other=True):
        pytest.skip(f"an ordinary user cannot read {SOURCE}")
    found = list(service.backends(settings_of(backend, docker), Place.open(parent, account)))
    if not found:
        pytest.skip("bubblewrap is not installed (apt-get install bubblewrap)")
    if docker is None and Language.PYTHON not in found[0].interpreters:
        pytest.skip("there is no Python that an ordinary user can execute")
    return found[0]


@contextmanager
def passable() -> Iterator[Path]:
    """A folder that every user can pass through. Not pytest's: each run of pytest closes those of the others."""
    with tempfile.TemporaryDirectory(prefix="atom-sandbox-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with passable() as folder:
        yield folder


@pytest.fixture(scope="session")
def docker() -> Iterator[OwnDocker]:
    """An engine with the image of the tests; skips, with the reason, where none can run."""
    try:
        with running() as own:
            yield own
    except NoDockerError as error:
        pytest.skip(f"no Docker engine: {error}")


@pytest.fixture(scope="session", params=BACKENDS)
async def box(request: pytest.FixtureRequest) -> AsyncIterator[Box]:
    engine = request.getfixturevalue("docker") if request.param.startswith("docker") else None
    with passable() as parent:
        sandbox = sandbox_of(request.param, parent, engine)
        report = await sandbox.probe()
        yield Box(sandbox, report, engine)
        await sandbox.close()
        assert engine is None or not engine.containers(), "a container is left"
        assert engine is None or not engine.volumes(), "a volume is left"
        assert not list(sandbox.place.folder.iterdir()), "an execution left something"


@pytest.fixture
async def site(box: Box, tmp_path: Path) -> AsyncIterator[Site]:
    sandbox, own = box.reaching, authority(tmp_path, HOST)
    async with serving() as plain, serving(own.context) as tls:
        yield Site(sandbox, plain, tls, own.pem)
