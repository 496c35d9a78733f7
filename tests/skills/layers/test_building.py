"""What becomes a layer, what is refused, and that nothing half is ever used."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from atom.errors import AtomError, InvalidError
from atom.kit.clock import FrozenClock
from atom.skills.layers.errors import (
    BuildFailedError,
    LayerTooLargeError,
    NoSourceError,
    UnresolvedError,
    WheelRefusedError,
)
from atom.skills.layers.models import Layer, Target
from atom.skills.layers.pip import START, Bounds, Source
from atom.skills.layers.service import Layers, Stage
from atom.skills.layers.shelf import digest_of
from atom.skills.layers.target import target_of
from atom.skills.sandbox.supervisor import landlock
from tests.skills.layers.making import put, want, wheel
from tests.skills.packing import unix

DAY = 86_400
ROOT = Path(__file__).parents[3]


def contents(layers: Layers) -> list[Path]:
    """Every layer that is there; each is what its name says."""
    found = sorted((layers.shelf.home / "content").iterdir())
    assert [f"sha256:{path.name}" for path in found] == [digest_of(path) for path in found]
    return found


def files(layer: Layer) -> set[str]:
    return {path.relative_to(layer.folder).as_posix() for path in layer.folder.rglob("*") if path.is_file()}


async def test_a_layer_has_the_packages_and_what_they_need_here(layers: Layers, wheels: Path) -> None:
    put(
        wheels,
        wheel("one", needs=["two>=1", "three; python_version < '3'", "four; extra == 'more'"]),
        wheel("two", "1.5"), wheel("two", "2.0"), wheel("three"), wheel("four"),
    )  # fmt: skip
    layer = await layers.build(want("one"))
    assert [(one.name, one.version, one.modules) for one in layer.packages] == [
        ("one", "1.0", ("one",)), ("two", "2.0", ("two",))
    ]  # fmt: skip
    assert len(layer.packages[0].sha256) == 64
    assert files(layer) >= {"one/__init__.py", "two/__init__.py", "one-1.0.dist-info/METADATA"}
    more = await layers.build(want("one[more]"))
    assert [one.name for one in more.packages] == ["four", "one", "two"]


async def test_files_of_a_layer_are_for_everybody_to_read_and_for_nobody_to_write(layers: Layers, wheels: Path) -> None:
    before = os.umask(0o077)
    try:
        put(wheels, wheel("one", more=[(unix("one/tool", 0o104755), b"#!/bin/sh\n")]))
        layer = await layers.build(want("one"))
    finally:
        os.umask(before)
    for path in (layer.folder, *layer.folder.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = 0o755 if path.is_dir() else 0o555 if path.name == "tool" else 0o444
        assert mode == wanted, path


async def test_a_second_build_is_a_lookup(layers: Layers, wheels: Path) -> None:
    put(wheels, wheel("one"), wheel("two"))
    assert await layers.find(want("one", "two")) is None
    first = await layers.build(want("one", "two"))
    assert first.fresh
    for path in wheels.iterdir():
        path.unlink()
    again = await layers.build(want("two", "one"))
    assert (again.fresh, again.digest, again.packages) == (False, first.digest, first.packages)
    assert await layers.find(want("one", "two")) == replace(first, fresh=False)
    assert await layers.find(want()) is None


async def test_one_changed_byte_in_a_wheel_is_another_layer(layers: Layers, wheels: Path) -> None:
    put(wheels, wheel("one", files={"one.py": b"X = 1\n"}))
    first = await layers.build(want("one"))
    put(wheels, wheel("one", files={"one.py": b"X = 2\n"}))
    assert (await layers.build(want("one"))).digest == first.digest  # nobody asked for another one
    second = await layers.build(want("one"), again=True)
    assert second.digest != first.digest
    assert first.folder.is_dir()
    assert (await layers.build(want("one"))).digest == second.digest


async def test_a_damaged_layer_is_built_anew(layers: Layers, wheels: Path) -> None:
    put(wheels, wheel("one"))
    first = await layers.build(want("one"))
    victim = first.folder / "one" / "__init__.py"
    victim.chmod(0o644)
    victim.write_bytes(b"import evil\n")
    second = await layers.build(want("one"))
    assert (second.fresh, second.digest) == (True, first.digest)
    assert contents(layers) == [first.folder]


async def test_pinned_hashes_are_held(layers: Layers, wheels: Path) -> None:
    put(wheels, wheel("one"))
    sha256 = (await layers.build(want("one"))).packages[0].sha256
    assert (await layers.build(want("one", hashes=["0" * 64, sha256]))).fresh
    with pytest.raises(WheelRefusedError) as caught:
        await layers.build(want("one", hashes=["0" * 64]))
    assert caught.value.problem == "hash"


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (["none"], "missing"), (["one>1"], "version"), (["one==1.0", "needs"], "conflict"), (["source"], "sdist_only"),
        (["lacking"], "missing"), (["foreign"], "missing"), (["addressed"], "address"),
    ],
)  # fmt: skip
async def test_what_cannot_be_had_is_told_with_its_reason(
    layers: Layers, wheels: Path, texts: Sequence[str], problem: str
) -> None:
    put(
        wheels,
        wheel("one"), wheel("needs", needs=["one>1"]), wheel("lacking", needs=["none"]),
        wheel("foreign", tag="cp39-cp39-win32"), wheel("addressed", needs=["one @ https://x.example/one.whl"]),
        ("source-1.0.tar.gz", b"setup.py would run"), ("one-2.0-py2-none-any.whl", b""),
    )  # fmt: skip
    if problem == "conflict":
        put(wheels, wheel("one", "2.0"))
    with pytest.raises((UnresolvedError, WheelRefusedError)) as caught:
        await layers.build(want(*texts))
    assert caught.value.details["problem"] == problem, caught.value
    assert caught.value.hint
    assert contents(layers) == []


async def test_only_the_python_a_script_says_it_runs_on(layers: Layers, wheels: Path) -> None:
    put(wheels, wheel("one"))
    assert (await layers.build(want("one", python=f"=={layers.target.minor}.*"))).fresh
    with pytest.raises(UnresolvedError) as caught:
        await layers.build(want("one", python=">=4"))
    assert caught.value.problem == "python"


async def test_pip_is_asked_for_the_programs_python_whichever_it_runs_on(layers: Layers, wheels: Path) -> None:
    other = Target("3.99.1", "cp399", layers.target.platforms, {**layers.target.markers, "python_version": "3.99"})
    put(wheels, wheel("one", needs=["two; python_version == '3.99'"]), wheel("two", needs=["three"]), wheel("three"))
    put(wheels, wheel("native", tag="cp399-cp399-manylinux2014_x86_64"), wheel("native", tag="cp311-cp311-win32"))
    layer = await replace(layers, target=other).build(want("one"))
    assert [one.name for one in layer.packages] == ["one", "three", "two"]
    if "manylinux2014_x86_64" in other.platforms:
        native = await replace(layers, target=other).build(want("native"))
        assert native.packages[0].file == "native-1.0-cp399-cp399-manylinux2014_x86_64.whl"


async def test_what_would_run_by_itself_is_left_out(layers: Layers, wheels: Path) -> None:
    early = b"open('/tmp/early', 'w')\n"
    put(
        wheels,
        wheel(
            "evil",
            files={
                "evil.py": b"", "evil.pth": b"import evil\n", "EVIL2.PTH": b"import evil\n", "sitecustomize.py": early,
                "usercustomize/__init__.py": early, "evil-1.0.data/purelib/late.pth": b"import evil\n",
                "evil-1.0.data/purelib/sitecustomize.py": early, "evil-1.0.data/scripts/python3": b"#!python\n",
                "evil-1.0.data/data/etc/passwd": b"x", "evil-1.0.data/platlib/inner/__init__.py": b"",
            },
        ),
    )  # fmt: skip
    layer = await layers.build(want("evil"))
    assert files(layer) == {
        "evil.py", "inner/__init__.py", "evil-1.0.dist-info/METADATA", "evil-1.0.dist-info/WHEEL"
    }  # fmt: skip
    assert set(layer.left_out) >= {"evil.pth", "EVIL2.PTH", "sitecustomize.py", "usercustomize/__init__.py"}
    assert layer.packages[0].modules == ("evil", "inner")


@pytest.mark.parametrize(
    ("name", "mode", "data", "problem"),
    [
        ("../evil.py", 0o100644, b"", "parent_name"), ("/evil.py", 0o100644, b"", "absolute_name"),
        ("evil-1.0.data/purelib/../../../x.py", 0o100644, b"", "parent_name"),
        ("link.py", 0o120777, b"/etc/passwd", "symlink"),
        ("a\\..\\b.py", 0o100644, b"", "backslash_name"), ("pipe.py", 0o010644, b"", "special_file"),
        ("bomb.py", 0o100644, bytes(1 << 24), "ratio"), ("EVIL.py", 0o100644, b"", "case_collision"),
        ("other-1.0.dist-info/METADATA", 0o100644, b"", "dist_info"),
        ("evil-1.0.data/purelib/evil.py", 0o100644, b"", "duplicate_name"),
    ],
)  # fmt: skip
async def test_a_hostile_wheel_is_refused_whole(
    layers: Layers, wheels: Path, name: str, mode: int, data: bytes, problem: str
) -> None:
    entry = unix(name, mode)
    entry.compress_type = zipfile.ZIP_DEFLATED
    put(wheels, wheel("evil", files={"evil.py": b""}, more=[(entry, data)]), wheel("good"))
    with pytest.raises((WheelRefusedError, BuildFailedError)) as caught:  # pip itself refuses two dist-info folders
        await layers.build(want("good", "evil"))
    assert caught.value.details.get("problem", "dist_info") == problem
    assert contents(layers) == []
    assert list((layers.shelf.home / "staging").iterdir()) == []


async def test_a_wheel_of_another_package_is_refused(layers: Layers, wheels: Path) -> None:
    put(wheels, ("one-1.0-py3-none-any.whl", wheel("two")[1]))
    with pytest.raises((WheelRefusedError, BuildFailedError, UnresolvedError)):
        await layers.build(want("one"))
    assert contents(layers) == []


async def test_sizes_are_bounded(layers: Layers, wheels: Path) -> None:
    put(wheels, wheel("big", files={"big.py": os.urandom(60_000)}), wheel("one"), wheel("two"))
    small = replace(layers, bounds=Bounds(size=50_000, files=4))
    with pytest.raises(AtomError) as caught:
        await small.build(want("big"))
    assert caught.value.code in {"skill_layer_too_large", "skill_layer_build_failed"}
    with pytest.raises(LayerTooLargeError):
        await small.build(want("one", "two"))
    assert (await small.build(want("one"))).fresh


async def test_two_packages_in_one_place(layers: Layers, wheels: Path) -> None:
    shared = {"shared/__init__.py": b"A = 1\n", "a.py": b""}
    put(wheels, wheel("one", files=shared), wheel("two", files={**shared, "shared/__init__.py": b"A = 2\n"}))
    layer = await layers.build(want("one", "two"))
    assert (layer.folder / "shared" / "__init__.py").read_bytes() == b"A = 1\n"
    assert layer.left_out == ("shared/__init__.py (of two)",)
    put(wheels, wheel("three", files={"a.py/b.py": b""}))
    with pytest.raises(WheelRefusedError) as caught:
        await layers.build(want("one", "three"))
    assert caught.value.problem == "collision"


async def test_without_a_source_nothing_is_installed(layers: Layers, wheels: Path) -> None:
    put(wheels, wheel("one"))
    with pytest.raises(NoSourceError):
        await replace(layers, source=Source()).build(want("one"))


async def test_no_setting_of_the_machine_changes_the_source(
    layers: Layers, wheels: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = folder / "other"
    put(other, wheel("one", "9.0"))
    put(wheels, wheel("one"))
    (folder / "pip.conf").write_text(f"[global]\nfind_links = {other}\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(other))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(folder / "pip.conf"))
    assert (await layers.build(want("one"))).packages[0].version == "1.0"


async def test_a_folder_of_wheels_that_is_not_there_is_told(layers: Layers, folder: Path) -> None:
    with pytest.raises(BuildFailedError, match="is no folder"):
        await replace(layers, source=Source(folder / "none")).build(want("one"))


PROBE = """
import json, os, socket, sys
found = {}
def attempt(name, call):
    try:
        call()
        found[name] = "done"
    except OSError as error:
        found[name] = type(error).__name__
outside = sys.argv[1]
attempt("inet", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
attempt("inet6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
attempt("unix", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
attempt("read", lambda: open(outside + "/secret").read())
attempt("write", lambda: open(outside + "/new", "w"))
attempt("own", lambda: open("own", "w"))
print(json.dumps(found))
"""


def test_what_chooses_the_wheels_has_no_network_and_one_folder(folder: Path) -> None:
    (folder / "secret").write_text("x")
    own = folder / "own"
    own.mkdir()
    bounds = [str(os.getpid()), "offline", "1000000", "30", str(own), f"{sys.prefix}\n{sys.base_prefix}"]
    line = [sys.executable, "-I", "-S", "-c", START, *bounds, sys.executable, "-I", "-c", PROBE, str(folder)]
    done = subprocess.run(line, cwd=own, env={}, capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    assert [found[name] for name in ("inet", "inet6", "unix", "own")] == [*["PermissionError"] * 3, "done"]
    if landlock.version() >= 1:
        assert [found[name] for name in ("read", "write")] == ["PermissionError"] * 2


# Dying


BUILDER = """
import asyncio, os, signal, sys
from dataclasses import replace
from pathlib import Path
from atom.skills.layers.models import Target
from atom.skills.layers.pip import Source
from atom.skills.layers.service import Layers, Stage
from atom.skills.layers.shelf import Shelf
from atom.skills.layers.target import target_of
from tests.skills.layers.making import want
home, source, python, die, *texts = sys.argv[1:]
def tell(stage):
    print(stage, flush=True)
    if stage == die:
        os.kill(os.getpid(), signal.SIGKILL)
async def main():
    where = Source(index=source) if source.startswith("http") else Source(Path(source))
    layers = Layers(Shelf.open(Path(home)), where, await target_of(python), tell=tell)
    print((await layers.build(want(*texts))).digest, flush=True)
asyncio.run(main())
"""


def builder(layers: Layers, source: str, die: str, *texts: str) -> "subprocess.Popen[str]":
    line = [sys.executable, "-c", BUILDER, str(layers.shelf.home), source, sys.executable, die, *texts]
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.fixture
async def own(layers: Layers) -> Layers:
    """For the Python that the tests run on: what a builder of its own builds for."""
    return replace(layers, target=await target_of(sys.executable))


@pytest.mark.parametrize("stage", list(Stage))
async def test_a_builder_killed_at_a_stage_leaves_nothing_half(own: Layers, wheels: Path, stage: Stage) -> None:
    put(wheels, wheel("one"))
    process = builder(own, str(wheels), stage, "one")
    assert process.wait(60) == -signal.SIGKILL
    assert await own.find(want("one")) is None
    contents(own)
    assert (await own.build(want("one"))).fresh
    assert len(contents(own)) == 1
    assert list((own.shelf.home / "staging").iterdir()) == []


async def test_a_builder_killed_while_it_writes_leaves_nothing_half(own: Layers, wheels: Path) -> None:
    put(wheels, wheel("one", files={f"one/m{number}.py": b"x = 1\n" * 50 for number in range(3000)}))
    for _ in range(3):
        process = builder(own, str(wheels), "", "one")
        assert process.stdout is not None
        while process.stdout.readline().strip() != Stage.UNPACKING:
            assert process.poll() is None
        half = own.shelf.home / "staging"
        while process.poll() is None and not list(half.glob("*/files/one/m*")):
            await asyncio.sleep(0)
        process.kill()
        process.wait()
        contents(own)
    other = await own.build(want("one"))
    assert (other.files, contents(own)) == (3002, [other.folder])


async def test_what_dead_builders_left_is_swept(own: Layers, wheels: Path) -> None:
    put(wheels, wheel("one"))
    assert builder(own, str(wheels), Stage.UNPACKING, "one").wait(60) == -signal.SIGKILL
    assert len(list((own.shelf.home / "staging").iterdir())) == 1
    await own.sweep(timedelta(days=30))
    assert list((own.shelf.home / "staging").iterdir()) == []
    assert list((own.shelf.home / "locks").iterdir()) == []


async def test_two_builders_of_one_layer_at_once(own: Layers, wheels: Path) -> None:
    put(wheels, wheel("one", needs=["two"]), wheel("two"))
    processes = [builder(own, str(wheels), "", "one") for _ in range(3)]
    said = [process.communicate(timeout=90)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len({lines[-1] for lines in said}) == 1
    assert sorted(map(len, said)) == [1, 1, 6]  # one built it, the others looked it up
    assert len(contents(own)) == 1


async def test_one_content_of_two_wishes_is_one_layer(layers: Layers, wheels: Path) -> None:
    put(wheels, wheel("one"))
    both = await asyncio.gather(layers.build(want("one")), layers.build(want("one>=1")))
    assert both[0].digest == both[1].digest
    assert len(contents(layers)) == 1


def processes_of(home: Path) -> list[int]:
    """Whose command line names the folder, but for the builder's own."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if any(str(home / "staging") in part for part in line):
            found.append(process.pid)
    return found


@pytest.mark.parametrize("end", ["kill", "cancel", "timeout"])
async def test_pip_ends_with_its_builder(own: Layers, end: str) -> None:
    """The index never answers, so pip waits for it."""
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    index = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/packages"
    try:
        if end == "kill":
            process = builder(own, index, "", "one")
            await asyncio.wait_for(asked.wait(), 60)
            process.kill()
            process.wait()
        elif end == "cancel":
            building = asyncio.create_task(replace(own, source=Source(index=index)).build(want("one")))
            await asyncio.wait_for(asked.wait(), 60)
            building.cancel()
            with pytest.raises(asyncio.CancelledError):
                await building
        else:
            short = replace(own, source=Source(index=index), bounds=Bounds(seconds=3))
            with pytest.raises(BuildFailedError):
                await short.build(want("one"))
        async with asyncio.timeout(10):  # pip itself gives up after 15 seconds
            while processes_of(own.shelf.home):
                await asyncio.sleep(0.02)
    finally:
        server.close()
    assert contents(own) == []


async def test_wheels_come_from_the_index_that_the_operator_names(own: Layers, folder: Path) -> None:
    name, data = wheel("one", needs=["two"])
    other, more = wheel("two")
    pages = {
        "/packages/one/": f'<a href="/files/{name}">{name}</a><a href="/files/one-9.tar.gz">one-9.tar.gz</a>'.encode(),
        "/packages/two/": f'<a href="/files/{other}">{other}</a>'.encode(),
        "/packages/source/": b'<a href="/files/source-1.0.tar.gz">source-1.0.tar.gz</a>',
        f"/files/{name}": data,
        f"/files/{other}": more,
    }

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).split(b" ")
        body = pages.get(request[1].decode())
        status, kind = (b"404 Not Found", b"text/plain") if body is None else (b"200 OK", b"text/html")
        body = body or b""
        head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        writer.write(head % (status, kind, len(body)) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    source = Source(index=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/packages")
    try:
        layer = await replace(own, source=source).build(want("one"))
        assert [one.name for one in layer.packages] == ["one", "two"]
        with pytest.raises(UnresolvedError) as caught:
            await replace(own, source=source).build(want("source"))
        assert caught.value.problem == "sdist_only"
    finally:
        server.close()


# Sweeping


async def test_a_layer_that_nobody_looked_for_is_swept(layers: Layers, wheels: Path, clock: FrozenClock) -> None:
    put(wheels, wheel("old"), wheel("used"), wheel("kept"))
    old, used, kept = [await layers.build(want(name)) for name in ("old", "used", "kept")]
    clock.advance(20 * DAY)
    assert await layers.find(want("used"))
    clock.advance(20 * DAY)
    assert await layers.sweep(timedelta(days=30), frozenset({kept.digest})) == [old.digest]
    assert not old.folder.exists()
    assert used.folder.is_dir()
    assert kept.folder.is_dir()
    assert await layers.find(want("old")) is None
    assert (await layers.build(want("old"))).digest == old.digest


async def test_a_layer_that_a_program_may_still_use_is_never_swept(layers: Layers) -> None:
    with pytest.raises(InvalidError):
        await layers.sweep(timedelta(days=1))
