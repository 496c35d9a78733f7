"""A Docker engine of the tests' own: its data, its socket, stopped by its pid. And an image of this machine's programs.

The image is what `docker/Dockerfile.sandbox` makes, on a base of Python, bash and Node with their libraries as they are
here, so that no registry is asked.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = "docker/Dockerfile.sandbox"
BASE, IMAGE = "atom-sandbox-base:test", "atom-sandbox:test"
TOOLS = ("chmod", "find", "ln", "mkdir", "rm")
UP_SECONDS = 30.0
DOWN_SECONDS = 20.0
STDLIB = "import sysconfig; print(sysconfig.get_path('stdlib'))"
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "ensurepip", "dist-packages", "site-packages", "turtledemo"}


class NoDockerError(Exception):
    """Why there is no engine here."""


@dataclass(frozen=True, slots=True)
class OwnDocker:
    """An engine that is up."""

    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def socket(self) -> Path:
        return self.folder / "engine.sock"

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    def client(self) -> httpx2.Client:
        transport = httpx2.HTTPTransport(uds=str(self.socket))
        return httpx2.Client(transport=transport, base_url="http://engine", timeout=60)

    def containers(self, **labels: str) -> list[str]:
        """Names of all there are, also of those that do not run."""
        filters = json.dumps({"label": [f"{name}={value}" for name, value in labels.items()]})
        with self.client() as client:
            found = client.get("/containers/json", params={"all": "1", "filters": filters}).json()
        return sorted(name.removeprefix("/") for one in found for name in one["Names"])

    def kill(self, container: str) -> None:
        with self.client() as client:
            client.post(f"/containers/{container}/kill").raise_for_status()

    def volumes(self) -> int:
        with self.client() as client:
            return len(client.get("/volumes").json()["Volumes"] or [])


@contextmanager
def running(*options: str) -> Iterator[OwnDocker]:
    """With the image. `options` are the engine's own. Raises NoDockerError where none can run."""
    if os.geteuid() != 0:
        raise NoDockerError("only root can start a Docker engine")
    program = shutil.which("dockerd", path="/usr/sbin:/usr/bin:/usr/local/bin:/usr/local/sbin")
    if program is None:
        raise NoDockerError("dockerd is not installed (apt-get install docker.io)")
    with tempfile.TemporaryDirectory(prefix="atom-docker-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with _started([program, *options], folder) as own:
            build(own)
            yield own


@contextmanager
def _started(program: list[str], folder: Path) -> Iterator[OwnDocker]:
    failures = []
    for driver in ("overlay2", "vfs"):
        log = folder / f"{driver}.log"
        process = _start(program, folder, driver, log)
        own = OwnDocker(folder, process)
        try:
            if _is_up(own):
                yield own
                return
            failures.append(log.read_text("utf-8")[-500:])
        finally:
            process.terminate()
            try:
                process.wait(DOWN_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for left in (folder / "exec" / "netns").glob("*"):  # an engine leaves the machine's own, where one had it
                subprocess.run(["umount", left], check=False, capture_output=True)
    raise NoDockerError(f"dockerd does not start here: {failures[-1]}")


def _start(program: list[str], folder: Path, driver: str, log: Path) -> "subprocess.Popen[bytes]":
    folders = ["--data-root", f"{folder}/{driver}", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
    network = ["--iptables=false", "--ip6tables=false", "--bridge=none"]
    with log.open("wb") as file:
        return subprocess.Popen(
            [*program, *folders, "-H", f"unix://{folder}/engine.sock", *network, "--storage-driver", driver],
            stdout=file,
            stderr=file,
        )


def _is_up(own: OwnDocker) -> bool:
    until = time.monotonic() + UP_SECONDS
    with own.client() as client:
        while own.process.poll() is None and time.monotonic() < until:
            try:
                if client.get("/_ping").is_success:
                    return True
            except httpx2.HTTPError:
                time.sleep(0.05)
    return False


def build(own: OwnDocker) -> None:
    """The image of `docker/Dockerfile.sandbox`, on a base of this machine's programs: it needs no network then."""
    programs = " ".join(name for name in ("python3", "bash", "node") if name == "python3" or found(name))
    with own.client() as client:
        _made(client.post("/images/create", params={"fromSrc": "-", "repo": BASE}, content=root_of_a_base()))
        given = {"BASE": BASE, "PROGRAMS": programs}
        asked = {"t": IMAGE, "dockerfile": DOCKERFILE, "buildargs": json.dumps(given), "networkmode": "none"}
        _made(client.post("/build", params=asked, content=context()))


def context() -> bytes:
    """What the build gets: nothing but the Dockerfile."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        tar.add(ROOT / DOCKERFILE, DOCKERFILE)
    return body.getvalue()


def _made(answer: httpx2.Response) -> None:
    if not answer.is_success or "errorDetail" in answer.text:
        raise NoDockerError(f"the image cannot be made: {answer.text[-1000:]}")


def found(name: str) -> Path | None:
    path = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin")
    return Path(path).resolve() if path else None


def root_of_a_base() -> bytes:
    """A tar of a file system with the interpreters, the tools that the build uses, what they load, and nothing else."""
    python = next(path for path in (Path("/usr/bin/python3"), Path(sys.executable)) if path.exists()).resolve()
    listed = subprocess.run([python, "-I", "-S", "-c", STDLIB], capture_output=True, text=True, check=True)
    stdlib = Path(listed.stdout.strip())
    others = {name: path for name in ("bash", "node", *TOOLS) if (path := found(name))}
    loaded = [python, *others.values(), *sorted(stdlib.glob("lib-dynload/*.so"))]
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", dereference=True) as tar:
        for name in ("proc", "sys", "dev", "etc", "usr/bin", "usr/local/bin", "var/tmp", "tmp"):
            _entry(tar, name, tarfile.DIRTYPE, 0o755)
        _entry(tar, "root", tarfile.DIRTYPE, 0o700)
        for name in ("etc/passwd", "etc/shadow", "etc/group"):
            _entry(tar, name, tarfile.REGTYPE, 0o644)
        _entry(tar, "usr/bin/sh", tarfile.SYMTYPE, 0o777, "bash")
        _entry(tar, "bin", tarfile.SYMTYPE, 0o777, "usr/bin")
        _entry(tar, "usr/local/bin/python3", tarfile.SYMTYPE, 0o777, str(python))
        for path in {python, *others.values(), *_libraries(loaded)}:
            tar.add(path, str(path), recursive=False)
        for name, path in others.items():
            if path.parent != Path("/usr/bin") or path.name != name:
                _entry(tar, f"usr/local/bin/{name}", tarfile.SYMTYPE, 0o777, str(path))
        tar.add(stdlib, str(stdlib), filter=lambda one: None if LEFT_OUT & set(one.name.split("/")) else one)
    return body.getvalue()


def _entry(tar: tarfile.TarFile, name: str, kind: bytes, mode: int, target: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = kind, mode, target
    tar.addfile(entry)


def _libraries(programs: list[Path]) -> set[Path]:
    """By the name that the loader looks for."""
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    words = {word for line in said.splitlines() if line.startswith("\t") for word in line.split()}
    return {Path(word) for word in words if word.startswith("/")}
