"""What a program tries to get out, to look around or to reach others. Nothing of it may work, in any backend."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from atom.skills.sandbox.canaries.host import Host, bait
from atom.skills.sandbox.models import ExitReason
from tests.skills.sandbox.conftest import Box

# Number and name of the attempt, and the body of a function that must raise OSError.
ATTEMPTS = {
    "01 write core_pattern": "return os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)",
    "01 write through a sysctl elsewhere": "return os.open('/proc/1/root/proc/sys/kernel/core_pattern', os.O_WRONLY)",
    "04 read the host's file": "return open(given['secret_file']).read()",
    "04 read shadow": "return open('/etc/shadow').read()",
    "04 read the root of pid 1": "return open('/proc/1/root/etc/passwd').read()",
    "05 TCP to the host": "return socket.create_connection(('127.0.0.1', given['port']), 1).send(b'x')",
    "06 abstract socket": (
        "s = socket.socket(socket.AF_UNIX); s.settimeout(1); return s.connect(chr(0) + given['abstract'])"
    ),
    "06 socket with a path": "return socket.socketpair(1, socket.SOCK_DGRAM)[0].sendto(b'x', given['unix'])",
    "06 another word for datagrams": "return socket.socketpair(1, socket.SOCK_RAW)[0].sendto(b'x', given['unix'])",
    "07 vsock": "return socket.socket(40, socket.SOCK_STREAM)",
    "08 packet": "return socket.socket(17, socket.SOCK_RAW)",
    "08 alg": "return socket.socket(38, socket.SOCK_SEQPACKET)",
    "08 netlink": "return socket.socket(16, socket.SOCK_RAW)",
    "08 a pair of another family": "return syscall((53, 199), 16, 3, 0, (ctypes.c_int * 2)())",
    "09 UDP": "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', given['udp']))",
    "10 unshare": "return syscall((272, 97), 0x10000000)",
    "10 clone": "return syscall((56, 220), 0x10000011, 0, 0, 0, 0)",
    "10 clone of a mount namespace": "return syscall((56, 220), 0x20011, 0, 0, 0, 0)",
    "10 setns": "return syscall((308, 268), os.open('/', os.O_RDONLY), 0)",
    "11 io_uring": "return syscall((425, 425), 8, ctypes.create_string_buffer(200))",
    "12 bpf": "return syscall((321, 280), 0, ctypes.create_string_buffer(128), 128)",
    "12 perf_event_open": "return syscall((298, 241), ctypes.create_string_buffer(128), 0, -1, -1, 0)",
    "12 userfaultfd": "return syscall((323, 282), 0)",
    "12 keyctl": "return syscall((250, 219), 0, -3, 1)",
    "12 add_key": "return syscall((248, 217), b'user', b'x', b'y', 1, -3)",
    "13 ptrace": "return syscall((101, 117), 16, os.getppid(), 0, 0)",
    "13 ptrace of oneself by the parent": "return syscall((101, 117), 0, 0, 0, 0)",
    "13 process_vm_readv": "return syscall((310, 270), os.getppid(), 0, 0, 0, 0, 0)",
    "13 memory of a process outside": "return os.open('/proc/%d/mem' % given['helper'], os.O_RDWR)",
    "13 memory of the supervisor": (
        "return os.open(f'/proc/{os.getppid()}/mem', os.O_RDWR) if os.getppid() > 1 else os.open('/proc/2/mem/x', 0)"
    ),
    "13 descriptors of another": "return syscall((438, 438), 0, 0, 0)",
    "14 mount": "return syscall((165, 40), b'none', b'/work', b'tmpfs', 0, 0)",
    "14 pivot_root": "return syscall((155, 41), b'.', b'.')",
    "14 move_mount": "return syscall((429, 429), 0, b'', 0, b'', 0)",
    "14 chroot": "return os.chroot('.')",
    "14 umount": "return syscall((166, 39), b'/proc', 0)",
    "19 anonymous file": "return os.memfd_create('x')",
    "26 out through a descriptor": "os.chdir('/proc/self/fd/0/../../..'); return os.listdir('root')",
    "27 overwrite the interpreter": "return os.open('/proc/self/exe', os.O_RDWR)",
    "27 overwrite it by name": "return os.open(os.path.realpath(sys.executable), os.O_RDWR)",
    "28 release_agent": "return os.open('/sys/fs/cgroup/memory/release_agent', os.O_WRONLY)",
    "28 make a group": "return os.mkdir('/sys/fs/cgroup/memory/out')",
    "28 leave the group": "return os.open('/sys/fs/cgroup/pids/cgroup.procs', os.O_WRONLY)",
    "29 sysrq": "return os.open('/proc/sysrq-trigger', os.O_WRONLY)",
    "29 kcore": "return open('/proc/kcore', 'rb').read(4096)",
    "29 mem": "return os.open('/dev/mem', os.O_RDONLY)",
    "29 kvm": "return os.open('/dev/kvm', os.O_RDWR)",
    "29 make a device": "return os.mknod('device', 0o020666, os.makedev(1, 1))",
    "30 TIOCSTI": "import fcntl; return fcntl.ioctl(0, 0x5412, b'x')",
    "30 TIOCLINUX": "import fcntl; return fcntl.ioctl(0, 0x541C, b'x')",
    "30 the terminal": "return os.open('/dev/tty', os.O_RDWR)",
    "31 signal a process outside": "return os.kill(given['helper'], 15)",
    "31 limit a process outside": "return syscall((302, 261), given['helper'], 7, ctypes.create_string_buffer(16), 0)",
    "31 renice a process outside": "return os.setpriority(os.PRIO_PROCESS, given['helper'], 19)",
    "35 metadata": "return socket.create_connection(('169.254.169.254', 80), 1)",
    "35 IPv6": "return socket.create_connection(('fd00:ec2::254', 80), 1)",
    "35 DNS": "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))",
    "35 docker.sock": "return socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
    "35 token file": "return open('/var/run/secrets/kubernetes.io/serviceaccount/token').read()",
    "39 shed the mark of the execution": "import resource; return resource.setrlimit(resource.RLIMIT_RTTIME, (1, 1))",
    "39 more processors": "return os.sched_setaffinity(0, range(os.cpu_count()))",
    "shared memory of System V": "return syscall((29, 194), 1234, 4096, 0o1666)",
}
ONLY_SHARED = {"shared memory of System V"}  # the others have an IPC namespace of their own


@pytest.fixture(scope="module")
def host(box: Box) -> Iterator[Host]:
    with bait(box.owner) as found:
        yield found


WITH_AND_WITHOUT_HOSTS = pytest.mark.parametrize("hosts", [(), ("example.com",)], ids=["no hosts", "hosts"])


@pytest.fixture(scope="module", params=[(), ("example.com",)], ids=["no hosts", "hosts"])
async def attempted(request: pytest.FixtureRequest, box: Box, host: Host) -> dict[str, str]:
    """What came of all attempts, made one after the other by one program, that may reach nothing or one host."""
    source = ""
    for number, (name, body) in enumerate(ATTEMPTS.items()):
        source += f"def go{number}():\n    {body}\nattempt({name!r}, go{number})\nos.chdir(os.environ['HOME'])\n"
    return await box.attempts(source, host.told(), hosts=request.param)


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_attempt_does_not_work(box: Box, attempted: dict[str, str], name: str) -> None:
    if name in ONLY_SHARED and box.sandbox.name != "landlock":
        pytest.skip("it has queues and shared memory of its own")
    assert not attempted[name].startswith("DONE"), attempted[name]
    assert "Error" in attempted[name], "the program is told that it was refused"


@WITH_AND_WITHOUT_HOSTS
async def test_nothing_of_all_that_was_felt_outside(box: Box, host: Host, hosts: tuple[str, ...]) -> None:
    before = host.file.stat()
    source = "".join(
        f"def go{number}():\n    {body}\nattempt({name!r}, go{number})\n"
        for number, (name, body) in enumerate(ATTEMPTS.items())
    )
    await box.attempts(source, host.told(), hosts=hosts)
    assert host.reached() == []
    assert host.changed(before) == []
    assert host.helper.poll() is None


async def test_13_the_first_process_inside_has_no_more_rights_than_the_program(box: Box) -> None:
    if box.sandbox.name != "bwrap":
        pytest.skip("only bubblewrap has a process of its own inside")
    done = await box.run("print(open('/proc/1/status').read())")
    status = dict(line.split(":\t", 1) for line in done.stdout.decode().splitlines() if ":\t" in line)
    assert status["Name"] == "bwrap"
    assert (status["NoNewPrivs"], status["Seccomp"], int(status["CapEff"], 16)) == ("1", "2", 0)


async def test_02_no_environment_holds_a_secret(box: Box, host: Host) -> None:
    found = await box.attempts(
        """
def environments():
    seen = [os.environ]
    for pid in [*range(1, 4000), given["helper"]]:
        try:
            seen.append(open(f"/proc/{pid}/environ", "rb").read())
        except OSError:
            pass
    return sum(given["secret"] in str(one) for one in seen)
attempt("seen", environments)
out["variables"] = sorted(os.environ)
""",
        host.told(),
    )
    assert found["seen"] == "DONE 0"
    assert not [name for name in found["variables"] if name.startswith(("PYTHON", "LD_", "SSH", "AWS", "DATABASE"))]


@WITH_AND_WITHOUT_HOSTS
async def test_03_no_descriptor_is_inherited(box: Box, hosts: tuple[str, ...]) -> None:
    with contextlib.ExitStack() as stack:
        leaks = [stack.enter_context(Path(os.devnull).open("rb")) for _ in range(20)]
        for leak in leaks:
            os.set_inheritable(leak.fileno(), True)
        done = await box.attempts(
            """
def opened():
    found = []
    for number in range(5000):
        try:
            os.fstat(number)
            found.append(number)
        except OSError:
            pass
    return found
out["open"] = opened()
""",
            hosts=hosts,
        )
    assert str(done["open"]) == "[0, 1, 2, 3]"


async def test_10_clone3_is_missing_rather_than_forbidden_so_that_libc_takes_its_other_way(box: Box) -> None:
    found = await box.attempts(
        """
import threading
attempt("clone3", lambda: syscall((435, 435), ctypes.create_string_buffer(88), 88))
thread = threading.Thread(target=lambda: out.update(thread="ran"))
thread.start()
thread.join()
"""
    )
    assert found == {"clone3": "OSError: [Errno 38] Function not implemented", "thread": "ran"}


async def test_31_killing_everything_ends_only_the_program(box: Box, host: Host) -> None:
    done = await box.run(
        "import os\nos.fork()\n"
        "for pid in (-1, os.getppid(), os.getpid()):\n    try:\n        os.kill(pid, 9)\n"
        "    except OSError:\n        pass\n"
    )
    assert done.reason is ExitReason.ERROR, done.detail
    assert done.exit_code == 137
    assert host.helper.poll() is None
    assert (await box.run("print('next')")).stdout == b"next\n"


async def test_34_introspection_finds_nothing_even_where_it_works(box: Box, host: Host) -> None:
    done = await box.run(
        PYTHON_TRICKS,
        host.told(),
    )
    assert done.reason is ExitReason.OK, done.stderr
    assert done.stdout.decode().split("\n")[0] == "[]", "files of the host that were read"
    assert host.secret.encode() not in done.stdout


PYTHON_TRICKS = """
import json, sys
given = json.load(sys.stdin)
found = []
loader = next(c for c in ().__class__.__base__.__subclasses__() if c.__name__ == "FileLoader")
for path in (given["secret_file"], "/etc/shadow", "/etc/passwd"):
    try:
        found.append(loader("x", path).get_data(path))
    except OSError:
        pass
print(found)
import gc
print([str(o)[:100] for o in gc.get_objects() if isinstance(o, str) and "canary" in o and "canary-" in o])
"""


async def test_modes_owners_and_times_of_the_machines_files_do_not_change(box: Box, host: Host) -> None:
    before = host.file.stat()
    await box.attempts(
        """
path = given["secret_file"]
attempt("chmod", lambda: os.chmod(path, 0o777))
attempt("chown", lambda: os.chown(path, os.getuid(), os.getgid()))
attempt("utime", lambda: os.utime(path, (1, 1)))
attempt("xattr", lambda: os.setxattr(path, "user.x", b"x"))
attempt("truncate", lambda: os.truncate(path, 0))
attempt("rename", lambda: os.rename(path, path + "2"))
attempt("link", lambda: os.link(path, "link"))
attempt("unlink", lambda: os.unlink(path))
""",
        host.told(),
    )
    assert host.changed(before) == []
