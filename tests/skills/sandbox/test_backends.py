"""Which backend is taken, what a report rests on, and what happens when an engine breaks."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from atom.kit.clock import SystemClock
from atom.settings import SandboxSettings
from atom.skills.sandbox import canaries, orphans, service
from atom.skills.sandbox.adapters.keeper import Keeper
from atom.skills.sandbox.adapters.supervised import SupervisedSandbox
from atom.skills.sandbox.canaries.host import living
from atom.skills.sandbox.errors import NoSandboxError
from atom.skills.sandbox.models import NEEDS, ExitReason, Guarantee, Language, Level, Limits, Report, Result, Spec
from atom.skills.sandbox.place import UIDS, Account, Place, mark_of
from atom.skills.sandbox.supervisor import tree
from tests.skills.sandbox.conftest import ORDINARY, Box, supervised


@dataclass
class Liar:
    """Claims every guarantee and starts a plain process."""

    name: str = "liar"
    report: Report | None = None
    claims: dict[Guarantee, Level] = field(default_factory=lambda: dict.fromkeys(Guarantee, Level.ENFORCED))

    async def probe(self) -> Report:
        self.report = await canaries.probe(self.name, self.execute, (Language.PYTHON,), SystemClock())
        return self.report

    async def execute(self, spec: Spec) -> Result:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as result:
            os.set_inheritable(result.fileno(), True)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                spec.files[spec.entry].decode(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "SKILL_RESULT_FD": str(result.fileno()), "SKILL_RESULT_NONCE": "n"},
                close_fds=False,
                cwd=folder,
            )
            out, err = await process.communicate(spec.input)
            result.seek(0)
            value = json.loads(result.read().partition(b" ")[2] or b"null")
        reason = ExitReason.OK if process.returncode == 0 else ExitReason.ERROR
        return Result(spec.id, self.name, reason, "", process.returncode, out, err, value, levels=self.claims)


async def test_a_backend_keeps_what_nobody_should_run_without(box: Box) -> None:
    assert box.report.lacks(NEEDS) == []
    for guarantee, found in box.report.evidence.items():
        assert found.canary, guarantee
        assert found.value, guarantee


async def test_only_what_was_never_passed_is_called_enforced(box: Box) -> None:
    """Without a control group memory is watched; without a file system of its own, so is the disk."""
    if box.grouped:
        assert box.report.level(Guarantee.PIDS_LIMIT) is Level.ENFORCED
        return
    watched = {Guarantee.MEM_LIMIT} | ({Guarantee.FS_WRITE_QUOTA} if box.sandbox.name == "landlock" else set())
    assert {name for name, found in box.report.evidence.items() if found.level is Level.BEST_EFFORT} <= watched
    if box.sandbox.name == "landlock":
        assert box.report.level(Guarantee.FS_WRITE_QUOTA) is Level.BEST_EFFORT


async def test_a_need_that_is_not_met_is_a_refusal_with_its_reason(box: Box) -> None:
    lost = replace(box.report.evidence[Guarantee.FS_ROOT_READONLY], level=Level.ABSENT, value="it was not")
    report = replace(box.report, evidence={**box.report.evidence, Guarantee.FS_ROOT_READONLY: lost})
    done = await replace(box.sandbox, report=report).run(Spec(Language.PYTHON, "main", {"main": b"print(1)"}))
    assert done.reason is ExitReason.POLICY
    assert "fs_root_readonly is absent, enforced is needed: " in done.detail
    assert "it was not" in done.detail
    assert done.stdout == b""


async def test_nothing_runs_before_the_canaries_did(box: Box) -> None:
    done = await replace(box.sandbox, report=None).run(Spec(Language.PYTHON, "main", {"main": b"print(1)"}))
    assert done.reason is ExitReason.POLICY
    assert "no canary" in done.detail


async def test_kill_ends_an_execution(box: Box) -> None:
    spec = Spec(Language.PYTHON, "main", {"main": b"import time\nprint('up', flush=True)\ntime.sleep(60)"})
    running = asyncio.create_task(box.sandbox.run(spec))
    while not tree.marked(mark_of(spec.id)):
        await asyncio.sleep(0.01)
    assert await box.sandbox.kill(spec.id)
    done = await running
    assert done.reason is ExitReason.KILLED
    assert not await box.sandbox.kill(spec.id)
    assert tree.marked(mark_of(spec.id)) == []


async def test_a_cancelled_run_ends_its_program_first(box: Box) -> None:
    spec = Spec(Language.PYTHON, "main", {"main": b"import time\ntime.sleep(60)"})
    running = asyncio.create_task(box.sandbox.run(spec))
    while not tree.marked(mark_of(spec.id)):
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert tree.marked(mark_of(spec.id)) == []
    assert await box.left() == []


async def test_a_supervisor_ended_by_force_is_an_engine_failure_and_leaves_nothing(box: Box) -> None:
    marker = f"orphan-{uuid4()}"
    source = (
        "import os, sys, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        f"        os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(60)', '{marker}'])\n"
        "    os._exit(0)\ntime.sleep(60)"
    )
    spec = Spec(Language.PYTHON, "main", {"main": source.encode()})
    running = asyncio.create_task(box.sandbox.run(spec))
    while not living(marker):
        await asyncio.sleep(0.01)
    await box.kill_supervisor(spec.id)
    done = await running
    assert done.reason is ExitReason.ENGINE
    assert living(marker) == []
    assert tree.marked(mark_of(spec.id)) == []
    assert await box.left() == []


async def test_a_keeper_ended_by_force_is_replaced_and_what_it_began_goes_on(box: Box) -> None:
    if not isinstance(box.sandbox, SupervisedSandbox):
        pytest.skip("it has no keeper")
    spec = Spec(Language.PYTHON, "main", {"main": b"import sys\nprint('up', flush=True)\nimport time\ntime.sleep(0.5)"})
    running = asyncio.create_task(box.sandbox.run(spec))
    while not tree.marked(mark_of(spec.id)):
        await asyncio.sleep(0.01)
    keeper = box.sandbox.keeper.process
    assert keeper is not None
    keeper.kill()
    keeper.wait()
    assert (await box.run("print('next')")).stdout == b"next\n"
    assert (await running).stdout == b"up\n"


ATOM_THAT_IS_KILLED = """
import asyncio, sys
from pathlib import Path
from uuid import UUID
from atom.settings import SandboxSettings
from atom.skills.sandbox import service
from atom.skills.sandbox.models import Language, Spec
from atom.skills.sandbox.place import Account, Place
folder, uid, settings, one = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], UUID(sys.argv[4])
place = Place.open(folder, Account(uid, uid) if uid >= 0 else None)
sandbox = next(iter(service.backends(SandboxSettings.model_validate_json(settings), place)))
source = b"import os, time\\nif os.fork() == 0:\\n    os.setsid()\\ntime.sleep(60)"
asyncio.run(sandbox._execute(Spec(Language.PYTHON, "main", {"main": source}, needs={}, id=one)))
"""


async def test_when_atom_is_killed_its_programs_end_and_clean_up(box: Box) -> None:
    one, place = uuid4(), box.sandbox.place
    uid = place.account.uid if place.account else -1
    options = [str(place.folder.parent), str(uid), box.settings().model_dump_json(), str(one)]
    process = subprocess.Popen([sys.executable, "-c", ATOM_THAT_IS_KILLED, *options], stdout=subprocess.DEVNULL)
    while len(tree.marked(mark_of(one))) < 2:
        assert process.poll() is None
        await asyncio.sleep(0.01)
    process.kill()
    process.wait()
    async with asyncio.timeout(20):
        while tree.marked(mark_of(one)) or await box.left():
            await asyncio.sleep(0.01)
    if box.docker is not None:  # which has no supervisor outside, that would give its lease back
        await box.sandbox.reap_orphans()


async def test_an_execution_that_lives_is_no_orphan(box: Box) -> None:
    spec = Spec(Language.PYTHON, "main", {"main": b"import time\ntime.sleep(60)"})
    running = asyncio.create_task(box.sandbox.run(spec))
    while not tree.marked(mark_of(spec.id)):
        await asyncio.sleep(0.01)
    assert await box.sandbox.reap_orphans() == 0
    assert tree.marked(mark_of(spec.id))
    await box.sandbox.kill(spec.id)
    assert (await running).reason is ExitReason.KILLED


def test_a_lease_nobody_holds_is_cleaned_up_after(tmp_path: Path) -> None:
    mark = mark_of(UUID(int=7))
    code = f"import resource, time; resource.setrlimit(resource.RLIMIT_RTTIME, ({mark}, {mark})); print(flush=True)"
    process = subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(60)"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    work = tmp_path / "execution"
    (work / "deep").mkdir(parents=True)
    (work / "deep" / "file").write_text("x")
    (tmp_path / "execution.run").write_text(str(mark))
    assert tree.marked(mark) == [process.pid]
    assert orphans.reap(tmp_path) == 1
    assert process.wait(10) == -9
    assert list(tmp_path.iterdir()) == []


async def test_38_root_never_starts_bubblewrap_nor_a_program_as_root(box: Box) -> None:
    if box.owner is not None and box.docker is None:
        pytest.skip("its supervisor is not root")
    if box.sandbox.name == "bwrap":
        done = await box.run("print(open('/proc/self/uid_map').read())")
        assert int(done.stdout.split()[1]) >= UIDS, "an account that is nobody's"
        return
    done = await box.run("import os\nprint(*os.getresuid(), *os.getresgid(), *os.getgroups())")
    uids = done.stdout.split()
    assert len(uids) == 6 if box.docker is None else 7, "no group but, with an engine, its own once more"
    assert all(int(uid) >= UIDS for uid in uids) or box.docker is not None
    if box.docker is not None:
        assert set(uids) == {b"65534"}
        return
    first, second = [await box.run("import os\nprint(os.stat('.').st_uid)") for _ in range(2)]
    assert first.stdout != second.stdout, "two executions are two users"


async def test_38_a_supervisor_that_is_told_to_run_it_as_root_refuses(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    if box.owner is not None:
        pytest.skip("its supervisor is not root")
    if not isinstance(box.sandbox, SupervisedSandbox):
        pytest.skip("no supervisor of it is root")
    for drop in (-1, 0):
        sandbox = replace(box.sandbox, place=RootPlace(box.sandbox.place.folder, drop=drop))
        done = await sandbox.run(Spec(Language.PYTHON, "main", {"main": b"print(1)"}))
        assert done.reason is ExitReason.ENGINE
        assert "refused" in done.detail
        assert done.stdout == b""


@dataclass(frozen=True)
class RootPlace(Place):
    drop: int = 0

    def uid_for(self, execution_id: UUID) -> int:
        return self.drop


async def test_39_the_canaries_find_a_backend_that_claims_what_it_does_not_enforce() -> None:
    report = await Liar().probe()
    wrongly = [name for name in Guarantee if report.level(name) is not Level.ABSENT]
    # What a plain process of an ordinary user has by itself is no lie.
    by_itself = {Guarantee.FD_HYGIENE, Guarantee.UID_NONROOT, Guarantee.CAPS_NONE, Guarantee.CPU_LIMIT}
    assert set(wrongly) <= (by_itself if os.geteuid() else set()), report.plain()
    assert report.lacks(NEEDS)


WITHOUT_NAMESPACES = """#!/usr/bin/python3 -IS
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.getuid(), os.getgid()
assert libc.unshare(0x10000000) == 0, os.strerror(ctypes.get_errno())
open("/proc/self/setgroups", "w").write("deny")
open("/proc/self/uid_map", "w").write(f"{uid} {uid} 1")
open("/proc/self/gid_map", "w").write(f"{gid} {gid} 1")
open("/proc/sys/user/max_user_namespaces", "w").write("0")
os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv[1:]])
"""


async def test_40_without_user_namespaces_bubblewrap_fails_closed_and_landlock_is_taken(open_folder: Path) -> None:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("needs the system's Python")
    python = open_folder / "python"
    python.write_text(WITHOUT_NAMESPACES)
    python.chmod(0o755)
    names = ("bwrap-ordinary", "landlock-ordinary")
    bwrap, landlock = (
        replace(found, keeper=Keeper(found.place, str(python))) for found in (supervised(n, open_folder) for n in names)
    )
    sandbox, report = await service.first_usable([bwrap, landlock])
    assert sandbox.name == "landlock"
    assert [note.split(":")[0] for note in report.notes] == ["bwrap was not taken"]
    done = await bwrap.run(Spec(Language.PYTHON, "main", {"main": b"print(1)"}))
    assert (done.reason, done.stdout) == (ExitReason.POLICY, b"")
    assert "bwrap" in done.detail, "its own words"
    done = await sandbox.run(Spec(Language.PYTHON, "main", {"main": b"print(1)"}))
    assert (done.reason, done.stdout) == (ExitReason.OK, b"1\n")
    for one in (bwrap, landlock):
        await one.close()


def test_an_engine_is_tried_last_and_only_where_its_socket_is(open_folder: Path) -> None:
    place, address = Place.open(open_folder), open_folder / "engine.sock"
    settings = SandboxSettings.model_validate({"docker_host": f"unix://{address}"})
    assert "docker" not in [backend.name for backend in service.backends(settings, place)]
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(address))
        assert [backend.name for backend in service.backends(settings, place)][-2:] == ["landlock", "docker"]
    only = settings.model_copy(update={"backend": "docker"})
    assert [backend.name for backend in service.backends(only, place)] == ["docker"]


async def test_no_backend_at_all_is_an_error_that_names_why(open_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("takes a folder away from another user, which only root can")
    place = Place.open(open_folder, Account(ORDINARY.uid, ORDINARY.gid))
    place.folder.chmod(0o500)  # nothing can be made in it
    with pytest.raises(NoSandboxError) as raised:
        await service.open_sandbox(SandboxSettings(), place)
    assert "landlock was not taken" in str(raised.value.details)


async def test_a_missing_language_is_a_refusal(box: Box) -> None:
    only = {Language.PYTHON: box.sandbox.interpreters[Language.PYTHON]}
    sandbox = replace(box.sandbox, interpreters=only)
    done = await sandbox.run(Spec(Language.NODE, "main", {"main": b""}))
    assert done.reason is ExitReason.POLICY
    assert "no node" in done.detail


async def test_many_at_once_do_not_touch_each_other(box: Box) -> None:
    source = b"import os\nopen('mine', 'x').close()\nprint(len([n for n in os.listdir('.') if n == 'mine']))"
    specs = [Spec(Language.PYTHON, "main", {"main": source}, limits=Limits(seconds=60)) for _ in range(8)]
    done = await asyncio.gather(*(box.sandbox.run(spec) for spec in specs))
    assert [one.stdout for one in done] == [b"1\n"] * 8
    assert await box.left() == []


def test_the_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make somebody else's folder")
    folder = tmp_path / "atom-sandbox-0"
    folder.mkdir()
    os.chown(folder, ORDINARY.uid, ORDINARY.gid)
    with pytest.raises(Exception, match="somebody else"):
        Place.open(tmp_path)
