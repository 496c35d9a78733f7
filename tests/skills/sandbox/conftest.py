"""Each backend of this machine, as root and as an ordinary user, probed once."""

import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from atom.settings import SandboxSettings
from atom.skills.sandbox import service
from atom.skills.sandbox.adapters.keeper import SOURCE
from atom.skills.sandbox.adapters.supervised import SupervisedSandbox
from atom.skills.sandbox.languages import reachable
from atom.skills.sandbox.models import Language, Limits, Report, Result, Spec
from atom.skills.sandbox.place import Account, Place
from tests.support.outside import authority, serving
from tests.support.site import HOST, Site

ORDINARY = Account(61_234, 61_234)  # nobody's
BACKENDS = [f"{backend}-{user}" for backend in ("bwrap", "landlock") for user in ("root", "ordinary")]

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
    """A sandbox and whom its supervisors run as."""

    sandbox: SupervisedSandbox
    report: Report

    @property
    def owner(self) -> tuple[int, int] | None:
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
        return await self.sandbox.run(Spec(language, "main", every, json.dumps(given).encode(), limits, hosts=hosts))

    async def attempts(
        self, source: str, given: object = None, limits: Limits | None = None, hosts: tuple[str, ...] = ()
    ) -> dict[str, str]:
        """What the attempts of a program came to."""
        done = await self.run(PRELUDE + source, given, limits=limits, hosts=hosts)
        assert isinstance(done.value, dict), (done.reason, done.detail, done.stderr)
        return done.value

    def left(self) -> list[str]:
        """What executions left in the sandbox's folder."""
        return sorted(path.name for path in self.sandbox.place.folder.iterdir())


def sandbox_of(name: str, parent: Path) -> SupervisedSandbox:
    """Skips, with the reason, where this machine cannot run it."""
    backend, user = name.split("-")
    account = ORDINARY if user == "ordinary" and os.geteuid() == 0 else None
    if user == "root" and os.geteuid() != 0:
        pytest.skip("these tests do not run as root")
    if account is not None and not reachable(Path(SOURCE), as_other=True):
        pytest.skip(f"an ordinary user cannot read {SOURCE}")
    settings = SandboxSettings.model_validate({"backend": backend})
    found = list(service.backends(settings, Place.open(parent, account)))
    if not found:
        pytest.skip("bubblewrap is not installed (apt-get install bubblewrap)")
    if Language.PYTHON not in found[0].interpreters:
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


@pytest.fixture(scope="session", params=BACKENDS)
async def box(request: pytest.FixtureRequest) -> AsyncIterator[Box]:
    with passable() as parent:
        sandbox = sandbox_of(request.param, parent)
        report = await sandbox.probe()
        yield Box(sandbox, report)
        await sandbox.close()
        assert not list(sandbox.place.folder.iterdir()), "an execution left something"


@pytest.fixture
async def site(box: Box, tmp_path: Path) -> AsyncIterator[Site]:
    own = authority(tmp_path, HOST)
    async with serving() as plain, serving(own.context) as tls:
        yield Site(box.sandbox, plain, tls, own.pem)
