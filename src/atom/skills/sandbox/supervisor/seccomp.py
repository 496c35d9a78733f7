"""System calls a program in the sandbox may not make. This file is the whole list; review it as a whole.

It denies what is dangerous and leaves the rest: an allow-list breaks with each newer libc. Names have their numbers on
x86-64 and arm64 (`-`: not there); a machine of another kind has no sandbox.
"""

import os
import struct
import sys

from atom.skills.sandbox.supervisor import linux

# What reaches past the process: mounts, namespaces, the kernel itself, other processes, keys, files by handle, clocks.
DENIED = """
mount:165:40 umount2:166:39 pivot_root:155:41 move_mount:429:429 open_tree:428:428 open_tree_attr:467:467
fsopen:430:430 fsconfig:431:431 fsmount:432:432 fspick:433:433 mount_setattr:442:442 chroot:161:51
swapon:167:224 swapoff:168:225 quotactl:179:60 quotactl_fd:443:443 listmount:458:458 statmount:457:457
unshare:272:97 setns:308:268
init_module:175:105 finit_module:313:273 delete_module:176:106 kexec_load:246:104 kexec_file_load:320:294
reboot:169:142 bpf:321:280 perf_event_open:298:241 userfaultfd:323:282 syslog:103:116 acct:163:89 uselib:134:-
vhangup:153:58 iopl:172:- ioperm:173:- modify_ldt:154:- nfsservctl:180:42 lookup_dcookie:212:18
ptrace:101:117 process_vm_readv:310:270 process_vm_writev:311:271 process_madvise:440:440
process_mrelease:448:448 kcmp:312:272 pidfd_getfd:438:438 migrate_pages:256:238 move_pages:279:239 mbind:237:235
set_mempolicy:238:237 set_mempolicy_home_node:450:450
keyctl:250:219 add_key:248:217 request_key:249:218
name_to_handle_at:303:264 open_by_handle_at:304:265 fanotify_init:300:262 fanotify_mark:301:263
settimeofday:164:170 clock_settime:227:112 clock_adjtime:305:266 adjtimex:159:171 sethostname:170:161
setdomainname:171:162
"""

# Limits and scheduling are the supervisor's: a program that could change them would also shed the mark it is found by.
LIMITS = """
setrlimit:160:164 sched_setaffinity:203:122 sched_setscheduler:144:119 sched_setparam:142:118
sched_setattr:314:274 setpriority:141:140 ioprio_set:251:30 lsm_set_self_attr:460:460
"""

# Not there, so that libraries take their other way: io_uring makes calls past every filter; anonymous files hold memory
# that no per-process limit counts; clone3 has its flags where a filter cannot read them (libc then uses clone).
MISSING = """
io_uring_setup:425:425 io_uring_enter:426:426 io_uring_register:427:427 memfd_create:319:279 memfd_secret:447:447
clone3:435:435
"""

# What Landlock does not cover, where the program shares the machine's view: System V and POSIX queues, watching files.
SHARED = """
shmget:29:194 shmat:30:196 shmctl:31:195 shmdt:67:197 semget:64:190 semop:65:193 semctl:66:191
semtimedop:220:192 msgget:68:186 msgsnd:69:189 msgrcv:70:188 msgctl:71:187 mq_open:240:180 mq_unlink:241:181
inotify_add_watch:254:27 inotify_init:253:- inotify_init1:294:26
"""

# Nor does it cover modes, owners, times and attributes of files. Where the program has the uid of Atom itself these
# calls do nothing and say that they did: copying a file copies its mode, and must not fail.
PRETENDED = """
chmod:90:- fchmod:91:52 fchmodat:268:53 fchmodat2:452:452 chown:92:- fchown:93:55 lchown:94:- fchownat:260:54
setxattr:188:5 lsetxattr:189:6 fsetxattr:190:7 setxattrat:463:463 removexattr:197:14 lremovexattr:198:15
fremovexattr:199:16 removexattrat:466:466 utime:132:- utimes:235:- utimensat:280:88 futimesat:261:-
file_setattr:469:469
"""

# Where single hosts are let through, TCP sockets can be made: these would be ways to be connected to.
LISTENING = "bind:49:200 listen:50:201 accept:43:202 accept4:288:242"

# Judged by an argument.
JUDGED = "socket:41:198 socketpair:53:199 clone:56:220 ioctl:16:29 prlimit64:302:261 personality:135:92"
SENDING = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3}  # which argument has the flags
WITH_HOSTS = "socket:41:198 ioctl:16:29 sendto:44:206 sendmsg:46:211 sendmmsg:307:269"
CONNECT = "connect:42:203"

NEW_NAMESPACES = 0x7E020080  # NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME
TERMINAL_INPUT, CONSOLE = 0x5412, 0x541C  # TIOCSTI, TIOCLINUX: put words on the line of whoever reads the terminal
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
IPPROTO_TCP = 6  # 0 is the same; MPTCP and SCTP have ways of their own to connect
MSG_FASTOPEN = 0x20000000
ABOUT_INTERFACES, INTERFACES = (
    0xFFFFFF00,
    0x8900,
)  # ioctl 0x89xx: addresses, neighbours and names of the machine's network
SOCK_STREAM, SOCK_SEQPACKET = 1, 5
SOCKET_TYPE = 0xF  # the rest of that argument are flags
EPERM, ENOSYS = 1, 38

ALLOW, ERRNO, KILL, NOTIFY = 0x7FFF0000, 0x00050000, 0x80000000, 0x7FC00000
LOAD, AND, EQUAL, ABOVE, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x25, 0x35, 0x45, 0x06  # of classic BPF
BLOCK = 12  # numbers; jumps reach 255 lines
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
X32 = 0x40000000
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the numbers, AUDIT_ARCH_*

Program = list[tuple[int, int, int, int]]


def supported() -> bool:
    return os.uname().machine in MACHINES and sys.maxsize > 2**32 and sys.byteorder == "little"


def assemble(*, shared: bool, same_user: bool, hosts: bool = False) -> bytes:
    """The filter as the kernel takes it (an array of `struct sock_filter`).

    `shared`: the program is in the machine's own namespaces. `same_user`: it has Atom's uid. `hosts`: it may have TCP
    sockets and nothing else, because another filter hands each connect() to the supervisor (`notifying`).
    """
    column = MACHINES[os.uname().machine][0]
    rules = {number: _judge(name, shared=shared) for name, number in _numbers(JUDGED, column)}
    lists = [(DENIED, ERRNO | EPERM), (LIMITS, ERRNO | EPERM), (MISSING, ERRNO | ENOSYS)]
    if shared:
        lists.append((SHARED, ERRNO | EPERM))
    if same_user:
        lists.append((PRETENDED, ERRNO))
    if hosts:
        lists.append((LISTENING, ERRNO | EPERM))
        rules.update((number, _with_hosts(name)) for name, number in _numbers(WITH_HOSTS, column))
    for names, verdict in lists:
        for _, number in _numbers(names, column):
            rules[number] = [_return(verdict)]
    return _packed([*_native(), *_search(rules)])


def notifying() -> bytes:
    """The filter that hands each connect() to whoever holds its listener, and allows all else."""
    [(_, number)] = _numbers(CONNECT, MACHINES[os.uname().machine][0])
    return _packed([*_native(), *_when(number, [_return(NOTIFY)]), _return(ALLOW)])


def install(filter_bytes: bytes) -> None:
    """For this process and all it starts, for good. It must have given up new privileges before."""
    linux.set_seccomp_filter(filter_bytes)


def _native() -> Program:
    """Calls in another way than the machine's usual one, with other numbers, end the program. Leaves the number."""
    column, architecture = MACHINES[os.uname().machine]
    program: Program = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), _return(KILL), (LOAD, 0, 0, NUMBER)]
    return program + ([(AT_LEAST, 0, 1, X32), _return(KILL)] if column == 0 else [])


def _packed(program: Program) -> bytes:
    return b"".join(struct.pack("=HBBI", *line) for line in program)


def _judge(name: str, *, shared: bool) -> Program:
    """A body that ends in a verdict."""
    refuse, allow = _return(ERRNO | EPERM), _return(ALLOW)
    if name == "socket" and shared:  # a socket with a path would reach any service of the machine
        return [refuse]
    if name == "socketpair" and shared:  # a datagram socket of a pair can still send to any path of the machine
        kinds = [_argument(1), (AND, 0, 0, SOCKET_TYPE), (EQUAL, 2, 0, SOCK_STREAM), (EQUAL, 1, 0, SOCK_SEQPACKET)]
        return [_argument(0), (EQUAL, 1, 0, AF_UNIX), refuse, *kinds, refuse, allow]
    if name in {"socket", "socketpair"}:
        return [_argument(0), (EQUAL, 1, 0, AF_UNIX), refuse, allow]
    if name == "clone":
        return [_argument(0), (ANY_BIT, 0, 1, NEW_NAMESPACES), refuse, allow]
    if name == "ioctl":
        return [_argument(1), (EQUAL, 1, 0, TERMINAL_INPUT), (EQUAL, 0, 1, CONSOLE), refuse, allow]
    if name == "prlimit64":  # reading one's own is all
        others = [_argument(0), (EQUAL, 1, 0, 0), refuse]
        return [
            *others,
            _argument(2),
            (EQUAL, 1, 0, 0),
            refuse,
            _argument(2, high=True),
            (EQUAL, 1, 0, 0),
            refuse,
            allow,
        ]
    return [_argument(0), (EQUAL, 2, 0, 0), (EQUAL, 1, 0, 0xFFFFFFFF), refuse, allow]  # personality: ask, or the usual


def _with_hosts(name: str) -> Program:
    """A body that ends in a verdict, for a program that may have TCP sockets."""
    refuse, allow = _return(ERRNO | EPERM), _return(ALLOW)
    if name == "socket":
        family = [_argument(0), (EQUAL, 2, 0, AF_INET), (EQUAL, 1, 0, AF_INET6), refuse]
        kind = [_argument(1), (AND, 0, 0, SOCKET_TYPE), (EQUAL, 1, 0, SOCK_STREAM), refuse]
        return [*family, *kind, _argument(2), (EQUAL, 2, 0, 0), (EQUAL, 1, 0, IPPROTO_TCP), refuse, allow]
    if name == "ioctl":
        terminal = [_argument(1), (EQUAL, 4, 0, TERMINAL_INPUT), (EQUAL, 3, 0, CONSOLE)]
        return [*terminal, (AND, 0, 0, ABOUT_INTERFACES), (EQUAL, 1, 0, INTERFACES), allow, refuse]
    return [_argument(SENDING[name]), (ANY_BIT, 0, 1, MSG_FASTOPEN), refuse, allow]  # it would connect by sending


def _search(rules: dict[int, Program]) -> Program:
    """By blocks of neighbours, each skipped in one step: most calls pass few lines."""
    program: Program = []
    numbers = sorted(rules)
    for first in range(0, len(numbers), BLOCK):
        block = numbers[first : first + BLOCK]
        body = [line for number in block for line in _when(number, rules[number])] + [_return(ALLOW)]
        program += [(ABOVE, len(body), 0, block[-1]), *body]
    return [*program, _return(ALLOW)]


def _when(number: int, body: Program) -> Program:
    return [(EQUAL, 0, len(body), number), *body]


def _return(verdict: int) -> tuple[int, int, int, int]:
    return (RETURN, 0, 0, verdict)


def _argument(index: int, *, high: bool = False) -> tuple[int, int, int, int]:
    return (LOAD, 0, 0, ARGUMENTS + 8 * index + (4 if high else 0))


def _numbers(names: str, column: int) -> list[tuple[str, int]]:
    found = [entry.split(":") for entry in names.split()]
    return [(entry[0], int(entry[1 + column])) for entry in found if entry[1 + column] != "-"]
