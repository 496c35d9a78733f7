"""The probe: run the canaries in a sandbox, and judge by what they managed, never by what the sandbox says."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from atom.kit.clock import Clock
from atom.skills.sandbox.canaries import programs
from atom.skills.sandbox.canaries.host import bait, living
from atom.skills.sandbox.canaries.hosts import CANARY, ExecuteOutside, reach
from atom.skills.sandbox.models import (
    MIB,
    Evidence,
    ExitReason,
    Guarantee,
    Language,
    Level,
    Limits,
    Report,
    Result,
    Spec,
)

AT_ONCE = 3
STEP = 2 * MIB
MEMORY = 48 * MIB
PIDS = 12
DISK = 4 * MIB
OUTPUT = 65_536
HOLD = 2.0  # seconds that a passed limit is held, for those that only watch
LINGER = 4.0
BUSY = 0.5
BURSTS = 3
QUIET_VARIABLES = frozenset(
    {
        "PATH",
        "HOME",
        "OPENSSL_CONF",
        "TMPDIR",
        "LANG",
        "PWD",
        "LC_CTYPE",
        "SKILL_OUTPUT",
        "SKILL_RESULT_FD",
        "SKILL_RESULT_NONCE",
    }
)

Execute = Callable[[Spec], Awaitable[Result]]
Found = tuple[Level, str]
G = Guarantee


async def probe(
    name: str,
    execute: Execute,
    languages: Sequence[Language],
    clock: Clock,
    owner: tuple[int, int] | None = None,
    *,
    execute_outside: ExecuteOutside | None = None,
) -> Report:
    """A report with evidence for each guarantee. `owner`: whom the bait belongs to, where it is another user.

    `execute_outside`: with the canary's own names and inner hosts; None where no single hosts can be let through.
    """
    turns = asyncio.Semaphore(AT_ONCE)

    async def run(source: str, told: Mapping[str, object], limits: Limits) -> Result:
        async with turns:
            return await execute(
                Spec(
                    Language.PYTHON, "canary.py", {"canary.py": source.encode()}, json.dumps(told).encode(), limits, {}
                )
            )

    async def hosts() -> Group:
        async with turns:
            return {G.NET_ALLOWLIST: (CANARY, await reach(execute_outside, owner))}

    groups = await asyncio.gather(
        _look(run, owner), _linger(run), _memory(run), _pids(run), _output(run), _disk(run), _processor(run), hosts()
    )
    at = clock.now()
    evidence = {
        guarantee: Evidence(level, canary, value[:500], at)
        for group in groups
        for guarantee, (canary, (level, value)) in group.items()
    }
    return Report(name, {name: evidence[name] for name in Guarantee}, tuple(languages), at)


Run = Callable[[str, Mapping[str, object], Limits], Awaitable[Result]]
Group = dict[Guarantee, tuple[str, Found]]


async def _look(run: Run, owner: tuple[int, int] | None) -> Group:
    with bait(owner) as host:
        before = host.file.stat()
        first = await run(programs.LOOK, {**host.told(), "last": False}, Limits(seconds=20))
        reached, changed, helper = host.reached(), host.changed(before), host.helper.poll()
        second = await run(programs.LOOK, {**host.told(), "last": True}, Limits(seconds=20))
    if not isinstance(first.value, dict) or not isinstance(second.value, dict):
        why = f"the canary did not answer: {first.reason} {first.detail} {_tail(first)}"
        return dict.fromkeys(LOOKED_AT, ("look around", (Level.ABSENT, why)))
    found = first.value
    judged: Group = {guarantee: (canary, judge(found)) for guarantee, (canary, judge) in LOOKED_AT.items()}
    if changed:
        judged[G.FS_ROOT_READONLY] = ("look at the file from outside", (Level.ABSENT, f"changed: {', '.join(changed)}"))
    if reached:
        judged[G.NET_NONE] = ("listen outside", (Level.ABSENT, f"came through: {', '.join(reached)}"))
    if helper is not None:
        judged[G.PID_ISOLATION] = ("signal a process outside", (Level.ABSENT, "it was ended"))
    left = second.value["state"]
    judged[G.FRESH_STATE] = ("look for what the last run left", _unless(left, "nothing was there", f"found {left}"))
    return judged


def _read_denied(found: Mapping[str, Any]) -> Found:
    return _all_denied(found, "read host file", "read /etc/shadow", "read /etc/passwd", "list /root")


def _readonly(found: Mapping[str, Any]) -> Found:
    names = [name for name in found if name.startswith(("change ", "truncate ", "remove ", "create ", "write "))]
    return _all_denied(found, *names)


def _secrets(found: Mapping[str, Any]) -> Found:
    odd = sorted(set(found["variables"]) - QUIET_VARIABLES)
    seen = [*found["secrets"], *odd]
    return _unless(seen, f"{len(found['variables'])} variables, no secret in any environment", f"seen: {seen}")


def _descriptors(found: Mapping[str, Any]) -> Found:
    extra = [number for number in found["descriptors"] if number > 3]
    return _unless(extra, f"open: {found['descriptors']}", f"open besides the standard ones and the result: {extra}")


def _network(found: Mapping[str, Any]) -> Found:
    ways = ("TCP", "UDP", "IPv6", "abstract unix", "unix", "vsock", "packet", "netlink", "alg", "bluetooth")
    return _all_denied(found, *ways)


def _processes(found: Mapping[str, Any]) -> Found:
    return _all_denied(found, "signal a process outside", "look at a process outside")


def _uid(found: Mapping[str, Any]) -> Found:
    outer = found["outer uid"]
    return _unless(outer == 0, f"uid {outer} outside", "it is root outside")


def _capabilities(found: Mapping[str, Any]) -> Found:
    return _unless(found["capabilities"] or "denied" in found["capget"], "none", f"{found['capabilities']}")


def _privileges(found: Mapping[str, Any]) -> Found:
    return _unless(found["no new privileges"] != 1, "set", "not set")


def _filter(found: Mapping[str, Any]) -> Found:
    level, value = _all_denied(found, *(name for name in found if name.startswith("call ")))
    return (level, value) if found["filter"] == 2 else (Level.ABSENT, "no filter is installed")


def _namespaces(found: Mapping[str, Any]) -> Found:
    level, value = _all_denied(found, "unshare", "clone")
    missing = found["clone3"] == f"denied: {os.strerror(38)}"
    return (level, value) if missing else (Level.ABSENT, f"clone3 is not missing: {found['clone3']}")


LOOKED_AT: Mapping[Guarantee, tuple[str, Callable[[Mapping[str, Any]], Found]]] = {
    G.FS_HOST_READ_DENIED: ("read files of the machine", _read_denied),
    G.FS_ROOT_READONLY: ("change and create files of the machine", _readonly),
    G.ENV_SECRETS_HIDDEN: ("look for a secret in every environment", _secrets),
    G.FD_HYGIENE: ("count open descriptors", _descriptors),
    G.NET_NONE: ("send by every kind of socket", _network),
    G.PID_ISOLATION: ("signal a process outside", _processes),
    G.UID_NONROOT: ("map its uid", _uid),
    G.CAPS_NONE: ("read its capabilities", _capabilities),
    G.NO_NEW_PRIVS: ("read the flag", _privileges),
    G.SYSCALL_FILTER: ("make dangerous system calls", _filter),
    G.USERNS_DENIED: ("make a user namespace", _namespaces),
    G.FRESH_STATE: ("look for what the last run left", lambda _found: (Level.ABSENT, "not looked at")),
}


async def _linger(run: Run) -> Group:
    marker = f"atom-canary-{secrets.token_hex(8)}"
    done = await run(programs.LINGER, {"marker": marker, "seconds": LINGER}, Limits(seconds=1.5))
    left = living(marker)
    for pid in left:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    value = f"{done.reason} after {done.usage.seconds:.1f} s of 1.5 s"
    wall = done.reason is ExitReason.TIMEOUT
    started = done.stdout == b"up"
    tree = (Level.ENFORCED, "its daemon ended too") if started and not left else (Level.ABSENT, f"left: {left}")
    return {
        G.WALL_TIMEOUT: ("ignore signals and sleep", (Level.ENFORCED if wall else Level.ABSENT, value)),
        G.TREE_KILL: ("leave a daemon in a session of its own", tree if started else (Level.ABSENT, _silent(done))),
    }


async def _memory(run: Run) -> Group:
    limits = Limits(memory=MEMORY, seconds=15)
    told = {"steps": 2 * MEMORY // STEP, "pages": STEP // 4096, "hold": HOLD}
    alone = await run(programs.GROW, told, limits)
    bursts = [await run(programs.BURST, {"pages": 2 * MEMORY // 3 // 4096}, limits) for _ in range(BURSTS)]
    one = len(alone.stdout) * STEP
    passed = sum(done.stdout == b"held" for done in bursts)
    value = (
        f"limit {MEMORY // MIB} MiB: one process had {one // MIB} ({alone.reason}), "
        f"three had {2 * MEMORY // MIB} together in {passed} of {BURSTS} attempts ({bursts[0].reason})"
    )
    if not alone.stdout or alone.reason is ExitReason.OK:
        level = Level.ABSENT
    elif one <= MEMORY and not any(done.reason is ExitReason.OK or done.stdout for done in bursts):
        level = Level.ENFORCED
    else:
        level = Level.BEST_EFFORT
    return {G.MEM_LIMIT: ("allocate twice the limit", (level, value))}


async def _pids(run: Run) -> Group:
    done = await run(programs.FORK, {"processes": 3 * PIDS, "hold": HOLD}, Limits(pids=PIDS, seconds=15))
    count = len(done.stdout)
    level = _amount(done, count, PIDS)
    return {
        G.PIDS_LIMIT: ("start three times as many processes", (level, f"limit {PIDS}: {count} started ({done.reason})"))
    }


async def _output(run: Run) -> Group:
    done = await run(programs.FLOOD, {}, Limits(output=OUTPUT, seconds=15))
    held = done.reason is ExitReason.OUTPUT and 0 < len(done.stdout) <= OUTPUT
    value = f"limit {OUTPUT}: {len(done.stdout)} bytes taken ({done.reason})"
    return {G.OUTPUT_LIMIT: ("print 64 times the limit", (Level.ENFORCED if held else Level.ABSENT, value))}


async def _disk(run: Run) -> Group:
    size = 256 * 1024
    told = {"files": 3 * DISK // size, "size": size, "hold": HOLD}
    done = await run(programs.FILL, told, Limits(disk=DISK, seconds=15))
    written = len(done.stdout) * size
    value = f"limit {DISK // MIB} MiB: {written / MIB:.1f} written ({done.reason})"
    return {G.FS_WRITE_QUOTA: ("write three times the limit", (_amount(done, written, DISK), value))}


async def _processor(run: Run) -> Group:
    done = await run(programs.BURN, {"seconds": BUSY}, Limits(cpus=1, seconds=15))
    if not isinstance(done.value, dict):
        return {G.CPU_LIMIT: ("keep two processors busy", (Level.ABSENT, _silent(done)))}
    busy, processors = float(done.value["busy"]), int(done.value["processors"])
    level = Level.ENFORCED if processors == 1 and busy < 1.3 else Level.ABSENT
    return {G.CPU_LIMIT: ("keep two processors busy", (level, f"limit 1: {busy:.2f} used, {processors} to be had"))}


def _amount(done: Result, had: int, limit: int) -> Level:
    """Enforced: it never had more. Best effort: it had, and was ended for it."""
    if not had or done.reason is ExitReason.OK:
        return Level.ABSENT
    return Level.ENFORCED if had <= limit else Level.BEST_EFFORT


def _all_denied(found: Mapping[str, Any], *names: str) -> Found:
    ways = [f"{name}: {found[name]}" for name in names if str(found[name]).startswith(("open", "sent"))]
    denied = sorted({str(found[name]) for name in names})
    return _unless(ways, f"{len(names)} attempts, {'; '.join(denied)}", "; ".join(ways))


def _unless(bad: object, value: str, otherwise: str) -> Found:
    return (Level.ABSENT, otherwise) if bad else (Level.ENFORCED, value)


def _silent(done: Result) -> str:
    return f"the canary did not answer: {done.reason}: {done.detail} {_tail(done)}"


def _tail(done: Result) -> str:
    return done.stderr[-200:].decode("utf-8", "replace").strip()
