"""The canaries themselves. They run inside: each says what it managed, and Atom looks from outside whether that is so.

Each ends by itself within a few seconds, so that a sandbox that enforces nothing is found and not hung upon.
"""

TELL = """
import json, os, sys, time
def tell(value):
    line = os.environ["SKILL_RESULT_NONCE"] + " " + json.dumps(value)
    os.write(int(os.environ["SKILL_RESULT_FD"]), line.encode())
"""

# Everything that can be tried in a moment. A value that begins with "open" is a way out.
LOOK = (
    TELL
    + r"""
import ctypes, ctypes.util, hashlib, socket
host = json.load(sys.stdin)
libc = ctypes.CDLL(None, use_errno=True)
found = {}

def attempt(name, call, open_word="open"):
    try:
        value = call()
        found[name] = f"{open_word}: {value}" if open_word else str(value)
    except OSError as error:
        found[name] = "denied: " + (error.strerror or str(error))

def read(path):
    with open(path, "rb") as file:
        return len(file.read(200))

def read_the_machines(path):
    with open(path, "rb") as file:
        body = file.read()
    if hashlib.sha256(body).hexdigest() not in host["digests"]:
        raise OSError("another file")
    return len(body)

def write(path):
    os.close(os.open(path, os.O_WRONLY))
    return "opened"

def make(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)
    return "made"

def overwrite(path):
    with open(path, "r+b") as file:
        return file.write(b"changed")

def call(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return "done"

def connect(family, kind, address):
    with socket.socket(family, kind) as one:
        one.settimeout(1)
        one.connect(address)
        one.send(b"out")
    return "sent"

def create(family, kind):
    socket.socket(family, kind).close()
    return "made"

attempt("read host file", lambda: read(host["secret_file"]))
attempt("read /etc/shadow", lambda: read_the_machines("/etc/shadow"))
attempt("read /etc/passwd", lambda: read_the_machines("/etc/passwd"))
attempt("list /root", lambda: os.listdir("/root"))
attempt("change host file", lambda: overwrite(host["secret_file"]))
attempt("truncate host file", lambda: os.truncate(host["secret_file"], 0))
attempt("mode of host file", lambda: os.chmod(host["secret_file"], 0o777), "tried")
attempt("times of host file", lambda: os.utime(host["secret_file"], (1, 1)), "tried")
attempt("remove host file", lambda: os.unlink(host["secret_file"]))
for folder in ("/usr", "/etc", "", os.path.dirname(host["secret_file"])):
    attempt("create in " + folder + "/", lambda folder=folder: make(f"{folder}/canary-{host['run']}"))
for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/fs/cgroup/release_agent"):
    attempt("write " + path, lambda path=path: write(path))

secrets = [name for name, value in os.environ.items() if host["secret"] in value]
try:
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
except OSError:
    pids = []
for pid in {*pids, "1", str(os.getppid()), str(host["helper"])}:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            if host["secret"].encode() in file.read():
                secrets.append(pid)
    except OSError:
        continue
found["secrets"] = secrets
found["variables"] = sorted(os.environ)

descriptors = []
for number in range(4096):
    try:
        os.fstat(number)
        descriptors.append(number)
    except OSError:
        continue
found["descriptors"] = descriptors

attempt("TCP", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", host["port"])))
attempt("UDP", lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", host["udp"])))
attempt("IPv6", lambda: connect(socket.AF_INET6, socket.SOCK_DGRAM, ("::1", host["udp"])))
attempt("abstract unix", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + host["abstract"]))
attempt("unix", lambda: socket.socketpair(1, socket.SOCK_DGRAM)[0].sendto(b"out", host["unix"]), "sent")
odd = (("vsock", 40, 1), ("packet", 17, 3), ("netlink", 16, 3), ("alg", 38, 5), ("bluetooth", 31, 3))
for name, family, kind in odd:
    attempt(name, lambda family=family, kind=kind: create(family, kind))

attempt("signal a process outside", lambda: os.kill(host["helper"], 15), "sent")
attempt("look at a process outside", lambda: os.kill(host["helper"], 0), "open")

try:
    with open("/proc/self/uid_map") as file:
        found["outer uid"] = int(file.read().split()[1]) if os.getuid() != 0 else 0
        file.seek(0)
        line = file.read().split()
        found["outer uid"] = int(line[1]) + os.getuid() - int(line[0])
except OSError:
    found["outer uid"] = os.getuid()
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
data = (ctypes.c_uint32 * 6)()
attempt("capget", lambda: call(125 if os.uname().machine == "x86_64" else 90, header, data), "")
found["capabilities"] = [hex(word) for word in data if word]
found["no new privileges"] = libc.prctl(39, 0, 0, 0, 0)
found["filter"] = libc.prctl(21, 0, 0, 0, 0)

arm = os.uname().machine == "aarch64"
calls = {"io_uring_setup": (425, 425), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
         "keyctl": (250, 219), "ptrace": (101, 117), "mount": (165, 40), "setns": (308, 268),
         "memfd_create": (319, 279)}
for name, numbers in calls.items():
    attempt("call " + name, lambda numbers=numbers: call(numbers[arm], 0, 0, 0, 0, 0))
attempt("unshare", lambda: call(97 if arm else 272, 0x10000000))
attempt("clone", lambda: call(220 if arm else 56, 0x10000000 | 17, 0, 0, 0, 0))
attempt("clone3", lambda: call(435, 0, 0))

folders = (".", os.environ.get("TMPDIR", "/tmp"), "/tmp", "/var/tmp", "/dev/shm")
places = [folder + "/state-" + host["run"] for folder in folders]
state = [path for path in places if os.path.exists(path)]
for path in places:
    try:
        if host["last"]:
            os.unlink(path)
        else:
            open(path, "x").close()
    except OSError:
        continue
found["state"] = state
tell(found)
"""
)

# A daemon that left its session, and a program that does not want to end.
LINGER = (
    TELL
    + r"""
import signal
host = json.load(sys.stdin)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
ready, up = (os.dup(end) for end in os.pipe())
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.set_inheritable(up, True)
        for number in range(4):
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        code = f"import os, time; os.write({up}, b'u'); time.sleep(30)"
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", code, host["marker"]])
    os._exit(0)
os.read(ready, 1)
os.write(1, b"up")
time.sleep(host["seconds"])
"""
)

# Memory by steps, each told when it is held.
GROW = r"""
import json, os, sys, time
host = json.load(sys.stdin)
held = []
for _ in range(host["steps"]):
    held.append(os.urandom(4096) * host["pages"])
    os.write(1, b"m")
time.sleep(host["hold"])
"""

# Three processes that together hold twice the limit, for a moment in which nobody looks. That it worked is told.
BURST = r"""
import json, os, sys
host = json.load(sys.stdin)
holds, hold = os.pipe()
waits, wait = os.pipe()
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        os.close(wait)
        held = os.urandom(4096) * host["pages"]
        os.write(hold, b"m")
        os.read(waits, 1)
        os._exit(0)
    children.append(pid)
os.close(hold)
count = 0
while count < 3 and os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
    os.set_blocking(holds, False)
    try:
        count += len(os.read(holds, 3))
    except BlockingIOError:
        continue
os.close(wait)
failed = [status for status in (os.waitpid(pid, 0)[1] for pid in children) if status]
if count == 3 and not failed:
    os.write(1, b"held")
sys.exit(1 if failed else 0)
"""

FORK = r"""
import json, os, sys, time
host = json.load(sys.stdin)
for number in range(host["processes"]):
    if os.fork() == 0:
        time.sleep(host["hold"])
        os._exit(0)
    os.write(1, b"p")
time.sleep(host["hold"])
"""

FLOOD = r"""
import os
for _ in range(64):
    os.write(1, b"x" * 65536)
"""

FILL = r"""
import json, os, sys, time
host = json.load(sys.stdin)
for number in range(host["files"]):
    with open(f"{number}", "wb") as file:
        file.write(os.urandom(host["size"]))
    os.write(1, b"f")
time.sleep(host["hold"])
"""

BURN = (
    TELL
    + r"""
host = json.load(sys.stdin)
before = len(os.sched_getaffinity(0))
try:
    os.sched_setaffinity(0, range(os.cpu_count()))
except OSError:
    pass
began = time.monotonic()
for _ in range(2):
    if os.fork() == 0:
        while time.monotonic() < began + host["seconds"]:
            pass
        os._exit(0)
for _ in range(2):
    os.wait()
spent = os.times()
wall = time.monotonic() - began
tell({"busy": (spent.children_user + spent.children_system) / wall, "processors": len(os.sched_getaffinity(0))})
"""
)
