"""The list of denied system calls as an engine takes it, made from the one reviewed list.

The supervisor inside needs what the program must not have (limits, scheduling, its filter), so this profile is the
container's and the program gets the whole filter besides.
"""

import json

from atom.skills.sandbox.supervisor import seccomp

DENY, ALLOW = "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"
LOW_WORD = 0xFFFFFFFF


def profile() -> dict[str, object]:
    """With EPERM for what is denied and ENOSYS for what libraries have another way for."""
    namespaces = [1 << bit for bit in range(32) if seccomp.NEW_NAMESPACES & 1 << bit]
    rules = [
        _rule(_names(seccomp.DENIED), seccomp.EPERM),
        _rule(_names(seccomp.MISSING), seccomp.ENOSYS),
        _rule(["socket", "socketpair"], seccomp.EPERM, {"index": 0, "value": seccomp.AF_UNIX, "op": "SCMP_CMP_NE"}),
        *(_rule(["clone"], seccomp.EPERM, _masked(0, flag, flag)) for flag in namespaces),
        *(
            _rule(["ioctl"], seccomp.EPERM, _masked(1, LOW_WORD, request))
            for request in (seccomp.TERMINAL_INPUT, seccomp.CONSOLE)
        ),
    ]
    return {"defaultAction": ALLOW, "syscalls": rules}


def text() -> str:
    return json.dumps(profile(), indent=2) + "\n"


def _names(listed: str) -> list[str]:
    return [entry.split(":", 1)[0] for entry in listed.split()]


def _rule(names: list[str], code: int, *arguments: dict[str, object]) -> dict[str, object]:
    return {"names": names, "action": DENY, "errnoRet": code, "args": list(arguments)}


def _masked(index: int, mask: int, value: int) -> dict[str, object]:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
