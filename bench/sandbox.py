"""How long an execution takes in each sandbox of this machine, how many go at once, and what is left afterwards.

    .venv/bin/python bench/sandbox.py [--rounds 40] [--executions 150] [--json FILE]

`print(1)` from start to result, in turns with the plain process and with the backend's bare command (what a person
would type: the same namespaces or rules, no supervisor, limits or collected output), so that a busy machine is busy for
all; the ratio is of the medians. A campaign counts 1,000 executions before it looks for what they left.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from atom.infra.log import configure
from atom.settings import SandboxSettings
from atom.skills.sandbox.adapters.keeper import SOURCE
from atom.skills.sandbox.adapters.supervised import SupervisedSandbox
from atom.skills.sandbox.egress import Outside
from atom.skills.sandbox.models import ExitReason, Language, Limits, Spec
from atom.skills.sandbox.place import NOBODY, Place
from atom.skills.sandbox.service import backends
from atom.skills.sandbox.supervisor import cgroup, tree

AT_ONCE = 50
GOAL = 1.6  # of the bare command
PRINT = b"print(1)"
HOSTS = ("example.com",)
REQUESTS = 200
ASK = """
import sys, time, urllib.request
began = time.perf_counter()
for _ in range({count}):
    urllib.request.urlopen("http://{host}:{port}/").read()
sys.stdout.write(str((time.perf_counter() - began) / {count} * 1000))
"""
BARE_BWRAP = [
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr"),
    *("--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
    *("--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc", "--dev", "/dev"),
    *("--tmpfs", "/work", "--chdir", "/work"),
]
BARE_LANDLOCK = f"""
import os, sys; sys.path.append({SOURCE!r})
from atom.skills.sandbox.supervisor import landlock, landlocked, linux, seccomp
linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
landlock.restrict(read=[*landlocked.SYSTEM, *landlocked.DEVICES], write=["/dev/null"])
seccomp.install(seccomp.assemble(shared=True, same_user=True))
os.execve(sys.argv[1], sys.argv[1:], {{}})
"""


@dataclass(slots=True)
class Times:
    """Milliseconds of each, in the order they were taken."""

    plain: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    with_hosts: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    value: float
    unit: str
    goal: float | None = None
    better: str = "lower"

    def plain(self) -> dict[str, object]:
        goal = {} if self.goal is None else {"goal": self.goal, "better": self.better}
        return {"name": self.name, "value": round(self.value, 3), "unit": self.unit, **goal}

    def line(self) -> str:
        goal = "" if self.goal is None else f"{'<=' if self.better == 'lower' else '>='} {self.goal:g}"
        return f"{self.name:<52} {self.value:>10.2f}  {self.unit:<5} {goal}"


@dataclass(frozen=True, slots=True)
class Traces:
    """Everything an execution could leave on this machine."""

    processes: int
    groups: int
    mounts: int
    files: int
    descriptors: int

    @classmethod
    def look(cls, place: Place) -> "Traces":
        places = cgroup.parents()
        folders = {Path(folder) for folder in (places[1].values() if places else ())}
        return cls(
            processes=sum(1 for pid in everyone() if tree.is_marked(pid)),
            groups=sum(1 for folder in folders for _ in folder.glob(f"{cgroup.PREFIX}*")),
            mounts=len(Path("/proc/self/mountinfo").read_text("utf-8").splitlines()),
            files=sum(1 for _ in place.folder.iterdir()),
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
        )


def everyone() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def timed(command: list[str]) -> float:
    """As the user a program would have: root's own rights would be another measurement."""
    began = time.perf_counter()
    done = subprocess.run(
        command,
        env={},
        capture_output=True,
        check=False,
        user=NOBODY if os.geteuid() == 0 else None,
        group=NOBODY if os.geteuid() == 0 else None,
        extra_groups=() if os.geteuid() == 0 else None,
    )
    taken = (time.perf_counter() - began) * 1000
    if done.stdout != b"1\n":
        raise SystemExit(f"{command[0]}: {done.stderr.decode()[-500:]}")
    return taken


def program(source: bytes = PRINT, hosts: tuple[str, ...] = ()) -> Spec:
    return Spec(Language.PYTHON, "main", {"main": source}, limits=Limits(seconds=120), hosts=hosts)


async def execution(sandbox: SupervisedSandbox, hosts: tuple[str, ...] = ()) -> float:
    began = time.perf_counter()
    done = await sandbox.run(program(hosts=hosts))
    taken = (time.perf_counter() - began) * 1000
    if done.reason is not ExitReason.OK or done.stdout != b"1\n":
        raise SystemExit(f"{sandbox.name}: {done.reason}: {done.detail} {done.stderr.decode()[-500:]}")
    return taken


def commands(sandbox: SupervisedSandbox) -> tuple[list[str], list[str]]:
    """The plain process, and the backend's bare command."""
    plain = [*sandbox.interpreters[Language.PYTHON].command("")[:-1], "-c", PRINT.decode()]
    if sandbox.name == "bwrap":
        return plain, [sandbox.bwrap, *BARE_BWRAP, "--", *plain]
    return plain, [plain[0], "-I", "-S", "-c", BARE_LANDLOCK, *plain]


async def start_to_result(sandbox: SupervisedSandbox, rounds: int) -> Times:
    plain, bare = commands(sandbox)
    found = Times()
    for turn in range(rounds + 2):
        one, two = timed(plain), timed(bare)
        pair = [await execution(sandbox, hosts) for hosts in ((), HOSTS)[:: 1 - turn % 2 * 2]]
        three, four = pair[:: 1 - turn % 2 * 2]  # each is the first as often as the other
        if turn >= 2:  # the first ones read the disk
            found.plain.append(one)
            found.bare.append(two)
            found.ours.append(three)
            found.with_hosts.append(four)
    return found


@dataclass(frozen=True, slots=True)
class Loopback:
    """Every name lies on this machine."""

    async def addresses(self, name: str) -> Sequence[str]:
        return ["127.0.0.1"]


async def requests(sandbox: SupervisedSandbox) -> float:
    """Milliseconds of one, by urllib, to a server on this machine."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host = f"{HOSTS[0]}:{server.sockets[0].getsockname()[1]}"
        source = ASK.format(count=REQUESTS, host=HOSTS[0], port=host.rpartition(":")[2])
        inside = replace(sandbox, outside=Outside(Loopback(), (f"internal:{host}",)))
        done = await inside.run(program(source.encode(), (host,)))
    if done.reason is not ExitReason.OK:
        raise SystemExit(f"{sandbox.name}: {done.detail} {done.stderr.decode()[-500:]}")
    return float(done.stdout)


async def many(sandbox: SupervisedSandbox, count: int, at_once: int) -> float:
    """Executions a second."""
    turns = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with turns:
            await execution(sandbox)

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return count / (time.perf_counter() - began)


async def measure(sandbox: SupervisedSandbox, rounds: int, executions: int) -> list[Row]:
    name = sandbox.name
    report = await sandbox.probe()
    before = Traces.look(sandbox.place)
    times = await start_to_result(sandbox, rounds)
    plain, bare, ours = (statistics.median(values) for values in (times.plain, times.bare, times.ours))
    at_once = await many(sandbox, AT_ONCE, AT_ONCE)
    rate = await many(sandbox, executions, os.cpu_count() or 1)
    after = Traces.look(sandbox.place)
    absent = [guarantee for guarantee, found in report.evidence.items() if not found.level]
    left: Callable[[str], float] = lambda what: max(0, getattr(after, what) - getattr(before, what))  # noqa: E731
    return [
        Row(f"{name}: print(1), plain process", plain, "ms"),
        Row(f"{name}: print(1), bare command", bare, "ms"),
        Row(f"{name}: print(1), start to result", ours, "ms"),
        Row(f"{name}: the fastest of them", min(times.ours), "ms"),
        Row(f"{name}: start to result / bare command", ours / bare, "x", GOAL),
        Row(f"{name}: print(1), with a host it may reach", statistics.median(times.with_hosts), "ms"),
        Row(f"{name}: with a host / without", statistics.median(times.with_hosts) / ours, "x"),
        Row(f"{name}: a request through the proxy", await requests(sandbox), "ms"),
        Row(f"{name}: {AT_ONCE} at once", at_once, "1/s"),
        Row(f"{name}: {executions} in turns", rate, "1/s"),
        Row(f"{name}: guarantees that are absent", len(absent), ""),
        *(Row(f"{name}: left {what}", left(what), "", 0) for what in Traces.__dataclass_fields__),
    ]


async def run(rounds: int, executions: int) -> list[Row]:
    found: list[Row] = []
    for sandbox in backends(SandboxSettings(), Place.open()):
        found += await measure(sandbox, rounds, executions)
        await sandbox.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    campaign = "PLANT_SEED" in os.environ  # set by `make campaign`
    parser.add_argument("--rounds", type=int, default=40, help="of the start-to-result comparison")
    parser.add_argument("--executions", type=int, default=1000 if campaign else 150, help="counted before the look")
    parser.add_argument("--json", type=Path, help="write the report there")
    options = parser.parse_args()
    configure("error", None)
    found = asyncio.run(run(options.rounds, options.executions))
    print("\n".join(row.line() for row in found))
    if options.json:
        report = {"rounds": options.rounds, "rows": [row.plain() for row in found]}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if any(row.goal == 0 and row.value for row in found):
        sys.exit("something was left")


if __name__ == "__main__":
    main()
