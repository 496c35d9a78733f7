"""The tools that programs have reach an allowed host as they are, and sockets behave as sockets do."""

import shutil

import pytest

from atom.skills.sandbox.models import ExitReason, Language
from tests.support.site import BY_HAND, HOST, Site

URLLIB = """
import ssl, urllib.request
print(urllib.request.urlopen("PLAIN/plain", timeout=10).read().decode())
print(urllib.request.urlopen("PLAIN/echo", data=b"a body END", timeout=10).read().decode())
trusted = ssl.create_default_context(cafile="ca.pem")
print(urllib.request.urlopen("TLS/secret", timeout=10, context=trusted).read().decode())
"""


async def test_urllib_works_as_it_is(site: Site) -> None:
    done = await site.run(URLLIB)
    assert done.stdout.decode().splitlines() == ["hello from /plain", "hello from /echo", "hello from /secret"], (
        done.stderr
    )
    assert site.plain.received.endswith(b"a body END")
    assert site.tls.names == [HOST]
    taken = {(one.host, one.port): one for one in done.connections}
    assert set(taken) == {(HOST, site.plain.port), (HOST, site.tls.port)}
    assert all(one.allowed and not one.reason and one.sent and one.received for one in done.connections), taken
    assert taken[HOST, site.plain.port].count == 2


async def test_curl_works_as_it_is(site: Site) -> None:
    if shutil.which("curl", path="/usr/bin:/bin") is None:
        pytest.skip("there is no curl")
    script = """
        curl -sS PLAIN/a; echo
        curl -sS --cacert ca.pem TLS/b; echo
        curl -sS http://other.example/ -o /dev/null -w '%{http_code}'
    """
    assert await site.said(script, language=Language.BASH) == ["hello from /a", "hello from /b", "403"]


async def test_a_tool_that_does_not_trust_the_server_is_not_made_to(site: Site) -> None:
    done = await site.run("import urllib.request\nurllib.request.urlopen('TLS/b')")
    assert done.reason is ExitReason.ERROR
    assert b"CERTIFICATE_VERIFY_FAILED" in done.stderr


NODE = """
const http = require("http");
const proxy = new URL(process.env.HTTPS_PROXY);
const given = "Basic " + Buffer.from(`${proxy.username}:${proxy.password}`).toString("base64");
const asked = new URL("PLAIN/from-node");
http.get({ host: proxy.hostname, port: proxy.port, path: asked.href,
           headers: { host: asked.host, "proxy-authorization": given } }, (reply) => {
  reply.setEncoding("utf8");
  reply.on("data", (part) => console.log(part));
});
require("net").connect(80, "93.184.216.34").on("error", (error) => console.log(error.code));
"""


async def test_sockets_of_node_work(site: Site) -> None:
    if Language.NODE not in site.sandbox.interpreters:
        pytest.skip("there is no node")
    assert sorted(await site.said(NODE, language=Language.NODE)) == ["ENETUNREACH", "hello from /from-node"]


@pytest.mark.parametrize(
    "source",
    [
        # Not blocking, as event loops do it: the copy of the supervisor does not block either.
        """
one = socket.socket()
one.setblocking(False)
code = one.connect_ex(proxy)
assert code in {0, errno.EINPROGRESS}, code
select.select([], [one], [], 10)
assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
assert fcntl.fcntl(one, fcntl.F_GETFL) & os.O_NONBLOCK
try:
    print(one.recv(1), "nothing was sent yet")
except BlockingIOError:
    pass
one.sendall(asked)
one.setblocking(True)
rest(one)
""",
        """
async def main():
    reader, writer = await asyncio.open_connection(*proxy)
    writer.write(asked)
    print((await reader.read()).decode().rpartition("\\r\\n")[2])
asyncio.run(main())
""",
        # Its other names for the same socket lead to the same connection, made before or after.
        """
one = socket.socket()
before = one.dup()
one.connect(proxy)
after = one.dup()
before.sendall(asked[:10])
one.sendall(asked[10:])
rest(after)
""",
        # A child has it too.
        """
pid = os.fork()
if pid == 0:
    with socket.create_connection(proxy, 10) as one:
        one.sendall(asked)
        rest(one)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""",
        """
def run():
    with socket.create_connection(proxy, 10) as one:
        one.sendall(asked)
        rest(one)
thread = threading.Thread(target=run)
thread.start()
thread.join()
""",
        # A descriptor that ends with exec still does, and the other kind does not.
        """
for inherited in (False, True):
    one = socket.socket()
    one.set_inheritable(inherited)
    one.connect(proxy)
    assert os.get_inheritable(one.fileno()) == inherited
    try:
        one.connect(proxy)
        raise SystemExit("connected twice")
    except OSError as error:
        assert error.errno == errno.EISCONN, error
one.sendall(asked)
rest(one)
""",
        """
with socket.socket(socket.AF_INET6) as one:
    one.connect(("::ffff:" + proxy[0], proxy[1]))
    one.sendall(asked)
    rest(one)
""",
        # Signals that come all the time end a call before it is taken up, or not at all: never between a new connection
        # and its answer, after which the call would be made again and say that it is connected already.
        """
import ctypes, signal
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGALRM, lambda *_: None)
name = ctypes.create_string_buffer(b"\\x02\\x00" + proxy[1].to_bytes(2) + socket.inet_aton(proxy[0]) + bytes(8), 16)
for _ in range(20):
    with socket.socket() as one:
        copies = [one.dup() for _ in range(300)]  # so that giving it takes long
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        while (code := libc.connect(one.fileno(), name, 16)) and ctypes.get_errno() == errno.EINTR:
            pass
        error = ctypes.get_errno()
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert not code, errno.errorcode[error]
with socket.create_connection(proxy, 10) as one:
    one.sendall(asked)
    rest(one)
""",
        # What is no socket is told so.
        """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def connect(file, address, length):
    code = libc.connect(file, address, length)
    return code and ctypes.get_errno()
name = ctypes.create_string_buffer(b"\\x02\\x00" + proxy[1].to_bytes(2) + socket.inet_aton(proxy[0]) + bytes(8), 16)
with socket.socket() as one:
    number = one.fileno()
    found = [connect(900, name, 16), connect(0, name, 16), connect(number, None, 16), connect(number, name, 1),
             connect(number, name, 4000), connect(number, ctypes.create_string_buffer(16), 16)]
    expected = [errno.EBADF, errno.ENOTSOCK, errno.EFAULT, errno.EINVAL, errno.EINVAL, errno.EAFNOSUPPORT]
    assert found == expected, found
    assert connect(number, name, 16) == 0
    one.sendall(asked)
    rest(one)
""",
    ],
    ids=["non-blocking", "asyncio", "copies", "child", "thread", "flags", "IPv6", "signals", "errors"],
)  # fmt: skip
async def test_a_connection_made_by_hand_behaves(site: Site, source: str) -> None:
    assert await site.said(BY_HAND + source) == ["hello from /hand"]


async def test_many_connections_one_after_the_other_and_together(site: Site) -> None:
    source = """
async def one():
    reader, writer = await asyncio.open_connection(*proxy)
    writer.write(asked)
    return (await reader.read()).endswith(b"hello from /hand")
async def main():
    for _ in range(5):
        print(all(await asyncio.gather(*(one() for _ in range(20)))))
asyncio.run(main())
"""
    done = await site.run(BY_HAND + source)
    assert done.stdout.decode().split() == ["True"] * 5, done.stderr
    assert [one.count for one in done.connections] == [100]
