"""What only the Docker backend has: an engine that may lie, break or be away, a pool, a supervisor inside."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atom.errors import InvalidError
from atom.settings import SandboxSettings
from atom.skills.sandbox import service
from atom.skills.sandbox.adapters.docker import owners, profile
from atom.skills.sandbox.adapters.docker.container import PREFIX, Shape
from atom.skills.sandbox.adapters.docker.engine import Engine, EngineError
from atom.skills.sandbox.adapters.docker.pool import Pool
from atom.skills.sandbox.adapters.docker.sandbox import GVISOR, DockerSandbox
from atom.skills.sandbox.models import MIB, NEEDS, ExitReason, Guarantee, Language, Level, Limits, Spec
from atom.skills.sandbox.place import Place, mark_of
from atom.skills.sandbox.supervisor import seccomp, tree
from tests.skills.sandbox.conftest import ORDINARY, passable
from tests.support.lying_engine import Change, lying_engine
from tests.support.own_docker import IMAGE, ROOT, NoDockerError, OwnDocker, running

PRINT = Spec(Language.PYTHON, "main", {"main": b"print(1)"}, needs={})
BROKEN = "/bin/false"  # in the place of gVisor
SLEEP = b"import time\nprint('up', flush=True)\ntime.sleep(60)"


@asynccontextmanager
async def opened(host: str, *, pool: int = 0, image: str = IMAGE) -> AsyncIterator[DockerSandbox]:
    settings = SandboxSettings.model_validate({"backend": "docker", "docker_host": host, "image": image, "pool": pool})
    with passable() as parent:
        sandbox = service.docker(settings, Place.open(parent))
        try:
            yield sandbox
        finally:
            await sandbox.close()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def docker() -> Iterator[OwnDocker]:
    """An engine that nothing else uses, so that whatever is there is of these tests."""
    try:
        with running("--add-runtime", f"{GVISOR}={BROKEN}") as own:
            yield own
    except NoDockerError as error:
        pytest.skip(f"no Docker engine: {error}")


@pytest.fixture
async def sandbox(docker: OwnDocker) -> AsyncIterator[DockerSandbox]:
    async with opened(docker.host) as found:
        yield found
    assert docker.containers() == []


# The supervisor inside


OUT_OF_REACH = {
    "its memory": "return os.open('/proc/1/mem', os.O_RDWR)",
    "its memory map": "return open('/proc/1/maps').read()",
    "its environment": "return open('/proc/1/environ').read()",
    "its output": "return os.open('/proc/1/fd/1', os.O_WRONLY)",
    "its descriptors": "return os.listdir('/proc/1/fd')",
    "its root": "return os.listdir('/proc/1/root')",
    "its stack": "return open('/proc/1/stack').read()",
    "its limits": "import resource; return resource.prlimit(1, resource.RLIMIT_NPROC, (0, 0))",
}


async def test_a_program_does_not_reach_the_supervisor_of_its_own_uid(sandbox: DockerSandbox) -> None:
    tries = "\n".join(f"def attempt{number}():\n    {body}\n" for number, body in enumerate(OUT_OF_REACH.values()))
    source = f"""
import os
{tries}
for call in ({", ".join(f"attempt{number}" for number in range(len(OUT_OF_REACH)))}):
    try:
        print("DONE", call())
    except OSError as error:
        print("denied", error.strerror)
for number in (9, 15, 19, 11):
    os.kill(1, number)
print("1 is", open("/proc/1/status").read().split()[1], os.getppid())
"""
    done = await sandbox._execute(replace(PRINT, files={"main": source.encode()}))
    said = done.stdout.decode().splitlines()
    assert done.reason is ExitReason.OK, (done.detail, done.stderr)
    assert [line.split()[0] for line in said[:-1]] == ["denied"] * len(OUT_OF_REACH), said
    assert said[-1] == "1 is python3 1", "it goes on after those signals"


async def test_a_supervisor_that_the_kernel_ends_for_memory_is_told_from_one_that_breaks(
    sandbox: DockerSandbox,
) -> None:
    """The program makes itself a smaller target and fills memory with what no process holds."""
    source = b"echo 500 > /proc/$$/oom_score_adj\nwhile :; do printf '%500000s' x; done > big"
    limits = Limits(memory=32 * MIB, disk=256 * MIB, seconds=30)
    spec = replace(PRINT, language=Language.BASH, files={"main": source}, limits=limits)
    done = await sandbox._execute(spec)
    assert done.reason is ExitReason.OOM, done.detail


@pytest.mark.parametrize("break_it", ["kill", "stop"])
async def test_a_container_that_is_ended_from_outside_is_an_engine_failure(
    sandbox: DockerSandbox, docker: OwnDocker, break_it: str
) -> None:
    spec = replace(PRINT, files={"main": SLEEP}, id=PRINT.id)
    call = asyncio.create_task(sandbox._execute(spec))
    await until(lambda: tree.marked(mark_of(spec.id)))
    assert docker.containers() == [f"{PREFIX}{spec.id}"], "what people look for"
    with docker.client() as client:
        client.post(f"/containers/{PREFIX}{spec.id}/{break_it}", params={"t": "0"} if break_it == "stop" else {})
    done = await call
    assert done.reason is ExitReason.ENGINE, done.detail
    assert tree.marked(mark_of(spec.id)) == []


# What it is made with


def test_the_profile_that_people_can_read_is_the_one_that_is_used() -> None:
    assert (ROOT / "docker" / "seccomp.json").read_text("utf-8") == profile.text()


def test_the_profile_denies_all_that_the_reviewed_list_denies() -> None:
    denied: dict[str, set[int]] = {}
    for rule in profile.profile()["syscalls"]:  # type: ignore[attr-defined]
        for name in rule["names"]:
            denied.setdefault(name, set()).add(rule["errnoRet"])
    for listed, code in ((seccomp.DENIED, seccomp.EPERM), (seccomp.MISSING, seccomp.ENOSYS)):
        for entry in listed.split():
            assert denied.get(entry.partition(":")[0]) == {code}, entry


def _no_memory_limit(asked: dict[str, Any]) -> None:
    asked["HostConfig"].update(Memory=0, MemorySwap=0)


def _no_process_limit(asked: dict[str, Any]) -> None:
    asked["HostConfig"]["PidsLimit"] = 0


def _no_disk_limit(asked: dict[str, Any]) -> None:
    asked["HostConfig"]["Tmpfs"]["/work"] = "rw,exec,mode=0700,uid=65534,gid=65534"


def _as_root(asked: dict[str, Any]) -> None:
    asked["User"] = "0:0"


def _machines_network(asked: dict[str, Any]) -> None:
    asked["NetworkDisabled"] = False
    asked["HostConfig"]["NetworkMode"] = "host"


def _machines_processes(asked: dict[str, Any]) -> None:
    asked["HostConfig"]["PidMode"] = "host"


def _machines_files(asked: dict[str, Any]) -> None:
    asked["HostConfig"]["Binds"] = ["/tmp:/tmp2", "/etc:/etc:ro"]


LIES: dict[str, tuple[list[Change], list[Guarantee]]] = {
    "no limits": (
        [_no_memory_limit, _no_process_limit, _no_disk_limit],
        [Guarantee.MEM_LIMIT, Guarantee.PIDS_LIMIT, Guarantee.FS_WRITE_QUOTA],
    ),
    "the machine's own": (
        [_machines_network, _machines_files],
        [Guarantee.NET_NONE, Guarantee.FS_HOST_READ_DENIED],
    ),
    "its processes": ([_machines_processes], [Guarantee.PID_ISOLATION]),
    "root": ([_as_root], [Guarantee.UID_NONROOT]),
}


@pytest.mark.parametrize("lies", LIES)
async def test_39_an_engine_that_says_yes_and_does_not_is_found(
    docker: OwnDocker, open_folder: Path, lies: str
) -> None:
    changes, broken = LIES[lies]
    async with lying_engine(docker.socket, open_folder / "liar.sock", changes) as host, opened(host) as sandbox:
        report = await sandbox.probe()
        for guarantee in broken:
            assert report.level(guarantee) is Level.ABSENT, report.evidence[guarantee]
            assert any(lack.startswith(f"{guarantee} ") for lack in report.lacks(NEEDS))
        done = await sandbox.run(replace(PRINT, needs=NEEDS))
        assert done.reason is ExitReason.POLICY
        assert done.stdout == b""
    assert docker.containers() == []


# An engine that is away, hangs, or has no image


async def test_without_an_image_the_report_says_how_to_build_it(docker: OwnDocker) -> None:
    async with opened(docker.host, image="atom-sandbox:nowhere") as sandbox:
        report = await sandbox.probe()
        assert "docker build -t atom-sandbox:nowhere -f docker/Dockerfile.sandbox ." in str(report.plain())
        assert len(report.evidence) == len(Guarantee)
        assert (await sandbox.run(replace(PRINT, needs=NEEDS))).reason is ExitReason.POLICY
        assert (await sandbox._execute(PRINT)).reason is ExitReason.ENGINE


async def test_an_image_with_volumes_is_refused(docker: OwnDocker) -> None:
    with docker.client() as client:
        changes = {"fromImage": IMAGE, "repo": "atom-sandbox", "tag": "volumes"}
        made = client.post(
            "/containers/create", json={"Image": IMAGE, "Cmd": ["true"], "Volumes": {"/data": {}}}
        ).json()
        client.post("/commit", params={"container": made["Id"], **changes}).raise_for_status()
        client.delete(f"/containers/{made['Id']}", params={"v": "1"}).raise_for_status()
    async with opened(docker.host, image="atom-sandbox:volumes") as sandbox:
        assert "declares volumes" in str((await sandbox.probe()).plain())


async def test_an_engine_that_is_away_is_a_result(open_folder: Path) -> None:
    async with opened(f"unix://{open_folder}/nobody.sock") as sandbox:
        report = await sandbox.probe()
        assert "No engine answers" in report.evidence[Guarantee.NET_NONE].value
        assert (await sandbox._execute(PRINT)).reason is ExitReason.ENGINE
        assert await sandbox.reap_orphans() == 0


async def test_an_engine_that_never_answers_is_a_result(open_folder: Path) -> None:
    connected = []
    server = await asyncio.start_unix_server(lambda _, writer: connected.append(writer), str(open_folder / "mute.sock"))
    async with server, opened(f"unix://{open_folder}/mute.sock") as sandbox:
        sandbox.pool.maker.engine.seconds = 0.2
        done = await sandbox._execute(PRINT)
        assert done.reason is ExitReason.ENGINE
        assert "did not answer within 0.2 s" in done.detail
        for writer in connected:
            writer.close()


def test_an_engine_elsewhere_is_refused() -> None:
    with pytest.raises(InvalidError):
        Engine("tcp://127.0.0.1:2375")


async def test_a_runtime_that_does_not_keep_enough_is_not_taken_and_the_report_says_so(docker: OwnDocker) -> None:
    async with opened(docker.host) as sandbox:
        report = await sandbox.probe()
        assert report.lacks(NEEDS) == []
        assert [note.split(":")[0] for note in report.notes] == ["the runtime runsc was not taken"]
        named = replace(sandbox, runtime=GVISOR)
        assert (await named.probe()).lacks(NEEDS), "one that was named is not replaced"


async def test_a_layer_is_read_only_where_it_is_told_and_one_that_is_gone_is_an_engine_failure(
    sandbox: DockerSandbox, open_folder: Path
) -> None:
    (open_folder / "module.py").write_text("here")
    source = (
        "print(open('/layers/0/module.py').read())\ntry:\n    open('/layers/0/new', 'w')\nexcept OSError as error:\n"
    )
    open_folder.chmod(0o777)
    container = await sandbox.pool.fresh(Shape.of(Limits(), (str(open_folder),)), "layered")
    spec = replace(PRINT, files={"main": (source + "    print(error.strerror)").encode()})
    done = await sandbox._ask(spec, container)
    await sandbox.pool.discard(container)
    assert done.stdout == b"here\nRead-only file system\n", done.stderr
    with pytest.raises(EngineError):
        await sandbox.pool.fresh(Shape.of(Limits(), (str(open_folder / "gone"),)), "layered")
    assert not (open_folder / "gone").exists()


# Ends


async def test_a_call_that_is_cancelled_while_its_container_starts_leaves_none(
    sandbox: DockerSandbox, docker: OwnDocker
) -> None:
    for steps in range(6):
        call = asyncio.create_task(sandbox._execute(replace(PRINT, files={"main": SLEEP})))
        await until(lambda: sandbox.running)
        for _ in range(steps**3):
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert docker.containers() == []


async def test_one_that_is_killed_before_it_has_a_container_does_not_begin(sandbox: DockerSandbox) -> None:
    call = asyncio.create_task(sandbox._execute(PRINT))
    await until(lambda: PRINT.id in sandbox.running)
    assert await sandbox.kill(PRINT.id)
    done = await call
    assert (done.reason, done.stdout) == (ExitReason.KILLED, b"")


async def test_only_containers_without_a_living_owner_are_removed(sandbox: DockerSandbox, docker: OwnDocker) -> None:
    folder = sandbox.place.folder
    here = owners.identity(folder)
    owner = owners.Owner(folder)
    cases = {
        "dead": {owners.LABEL: "0123", owners.FOLDER_LABEL: here},
        "alive": owner.labels(),
        "elsewhere": {owners.LABEL: "0123", owners.FOLDER_LABEL: "another machine"},
        "odd": {owners.LABEL: "../../etc/passwd", owners.FOLDER_LABEL: here},
        "stranger": {},
    }
    with docker.client() as client:
        for name, labels in cases.items():
            body = {"Image": IMAGE, "Cmd": ["bash", "-c", "read"], "OpenStdin": True, "Labels": labels}
            body["HostConfig"] = {"NetworkMode": "none"}
            client.post("/containers/create", params={"name": name}, json=body).raise_for_status()
            client.post(f"/containers/{name}/start").raise_for_status()
        try:
            assert await sandbox.reap_orphans() == 1
            assert docker.containers() == ["alive", "elsewhere", "odd", "stranger"]
            owner.close()
            assert await sandbox.reap_orphans() == 1
            assert docker.containers() == ["elsewhere", "odd", "stranger"]
        finally:
            for name in docker.containers():
                client.delete(f"/containers/{name}", params={"force": "1"})


# The pool


async def test_each_container_of_the_pool_is_used_once(docker: OwnDocker) -> None:
    async with opened(docker.host, pool=2) as sandbox:
        sandbox.pool.start()
        seen: set[str] = set()
        for _ in range(4):
            await until(lambda: len(sandbox.pool.ready) == 2)
            waiting = {found.container.id for found in sandbox.pool.ready}
            spec = replace(PRINT, files={"main": SLEEP}, limits=service.limits(SandboxSettings()))
            call = asyncio.create_task(sandbox._execute(spec))
            await until(lambda: any(one.container for one in sandbox.running.values()))
            container = sandbox.running[spec.id].container
            assert container is not None
            assert container.id in waiting - seen, "started before anybody asked, and never used"
            seen.add(container.id)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
    assert docker.containers() == []


async def test_other_limits_than_the_pools_are_given_at_the_start(docker: OwnDocker) -> None:
    async with opened(docker.host, pool=1) as sandbox:
        sandbox.pool.start()
        await until(lambda: sandbox.pool.ready)
        waiting = sandbox.pool.ready[0].container
        done = await sandbox._execute(replace(PRINT, limits=Limits(memory=64 * MIB)))
        assert done.reason is ExitReason.OK
        assert [found.container for found in sandbox.pool.ready] == [waiting]


async def test_containers_that_wait_too_long_or_are_ended_are_replaced(docker: OwnDocker) -> None:
    async with opened(docker.host) as sandbox:
        pool = Pool(sandbox.pool.maker, Shape.of(Limits()), 1, most_age=3600.0, look_seconds=0.02)
        sandbox.pool = pool
        pool.start()
        await until(lambda: pool.ready)
        first = pool.ready[0].container
        docker.kill(first.id)
        await until(lambda: pool.ready and pool.ready[0].container is not first)
        second = pool.ready[0]
        second.since -= 7200.0
        await until(lambda: pool.ready and pool.ready[0] is not second)
        assert (await sandbox._execute(replace(PRINT, limits=Limits()))).reason is ExitReason.OK
    assert docker.containers() == []


async def test_a_pool_whose_engine_went_away_neither_hangs_nor_raises(docker: OwnDocker, open_folder: Path) -> None:
    async with opened(docker.host, pool=1) as sandbox:
        sandbox.pool.start()
        await until(lambda: sandbox.pool.ready)
        engine = sandbox.pool.maker.engine
        await engine.close()
        engine.host = f"unix://{open_folder}/nobody.sock"
        done = await sandbox._execute(PRINT)
        assert done.reason in {ExitReason.ENGINE, ExitReason.OK}
        done = await sandbox._execute(PRINT)
        assert done.reason is ExitReason.ENGINE
        await sandbox.pool.close()
        await engine.close()
        engine.host = docker.host
    await until(lambda: not docker.containers())


ATOM_WITH_A_POOL = """
import asyncio, sys
from pathlib import Path
from atom.settings import SandboxSettings
from atom.skills.sandbox import service
from atom.skills.sandbox.place import Place
async def main():
    sandbox = service.docker(SandboxSettings.model_validate_json(sys.argv[2]), Place.open(Path(sys.argv[1])))
    sandbox.pool.start()
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_a_pool_ends_with_the_atom_that_is_killed(docker: OwnDocker, open_folder: Path) -> None:
    settings = SandboxSettings.model_validate({"docker_host": docker.host, "image": IMAGE, "pool": 2})
    command = [sys.executable, "-c", ATOM_WITH_A_POOL, str(open_folder), settings.model_dump_json()]
    process = subprocess.Popen(command)
    await until(lambda: len(docker.containers()) == 2)
    process.kill()
    process.wait()
    async with opened(docker.host) as other:
        folder = Place.open(open_folder).folder
        await owners.reap(other.pool.maker.engine, folder)
        assert list(folder.iterdir()) == [], "the lease of one that is gone"
    await until(lambda: not docker.containers())


def test_an_ordinary_user_in_the_engines_group_has_the_same_sandbox(docker: OwnDocker, open_folder: Path) -> None:
    python = Path("/usr/bin/python3").resolve()  # this one's own may be in a folder that is closed to others
    if python.name != f"python3.{sys.version_info.minor}" or ROOT.stat().st_mode & 0o005 != 0o005:
        pytest.skip(f"an ordinary user has no Python of this version, or cannot read {ROOT}")
    os.chown(docker.socket, 0, ORDINARY.gid)
    docker.socket.chmod(0o660)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path.startswith(str(ROOT))),
        "HOME": "/nonexistent",
        "TMPDIR": str(open_folder),
        "ATOM_HOME": str(open_folder),
        "ATOM_SANDBOX__BACKEND": "docker",
        "ATOM_SANDBOX__DOCKER_HOST": docker.host,
        "ATOM_SANDBOX__IMAGE": IMAGE,
    }
    open_folder.chmod(0o777)
    shown = subprocess.run(
        [python, "-m", "atom", "skills", "sandbox", "probe", "--json"],
        env=environment, user=ORDINARY.uid, group=ORDINARY.gid, extra_groups=(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stdout + shown.stderr
    found = json.loads(shown.stdout)
    assert found["backend"] == "docker"
    assert found["backends"][0]["lacks"] == []
