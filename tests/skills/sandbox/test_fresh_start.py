"""Nothing runs before the filter, and nothing stays for the next one."""

from pathlib import Path

import pytest

from atom.errors import InvalidError
from atom.skills.sandbox.models import MIB, ExitReason, Language, Limits, Spec
from tests.skills.sandbox.conftest import Box

EARLY = b"import os\nos.write(1, b'EARLY')\n"
NAMES = (
    "sitecustomize.py", "usercustomize.py", "conftest.py", "__init__.py", "json.py", "os.py", "encodings/__init__.py",
    "evil.pth", "python311.zip", "pyvenv.cfg", "site-packages/evil.pth", "lib/python3.11/site.py", ".pythonstartup",
)  # fmt: skip


async def test_33_no_name_in_a_bundle_runs_by_itself(box: Box) -> None:
    files = dict.fromkeys(NAMES, EARLY)
    files["evil.pth"] = b"import os; os.write(1, b'EARLY')\n"
    done = await box.run("import json, sys\nprint(sys.flags.isolated, sys.flags.no_site, sys.path[0])", files=files)
    assert done.reason is ExitReason.OK, done.stderr
    assert b"EARLY" not in done.stdout
    assert done.stdout.startswith(b"1 1 /usr") or done.stdout.startswith(b"1 1 /"), done.stdout


async def test_33_no_variable_of_ours_reaches_the_program_nor_its_supervisor(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PYTHONHOME",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "NODE_OPTIONS",
        "BASH_ENV",
    ):
        monkeypatch.setenv(name, "/nowhere/evil")
    monkeypatch.setenv("ATOM_SECRET_CANARY", "leak-canary")
    done = await box.run("import os\nprint(sorted(os.environ))")
    assert done.reason is ExitReason.OK, done.detail
    for word in (b"PYTHON", b"LD_", b"NODE_OPTIONS", b"BASH_ENV", b"CANARY"):
        assert word not in done.stdout


async def test_33_bash_and_node_read_no_file_of_the_bundle_first(box: Box) -> None:
    files = dict.fromkeys((".bashrc", ".profile", ".bash_profile", ".bash_login", "bash.bashrc"), b"echo EARLY")
    done = await box.run("echo late", language=Language.BASH, files=files)
    assert done.stdout == b"late\n"
    if Language.NODE in box.sandbox.interpreters:
        files = {"index.js": b"console.log('EARLY')", ".noderc": b"EARLY", "node_modules/fs/index.js": b"EARLY"}
        done = await box.run("console.log(require('fs').existsSync('main'))", language=Language.NODE, files=files)
        assert done.stdout == b"true\n", done.stderr


async def test_36_nothing_is_there_from_the_last_run(box: Box) -> None:
    source = (
        "import os\nfound = []\nfor folder in ('.', 'tmp', '/tmp', '/var/tmp', '/dev/shm', os.environ['HOME']):\n"
        "    path = folder + '/left-behind'\n    found.append(os.path.exists(path))\n"
    )
    write = (
        "for folder in ('.', 'tmp', '/tmp', '/var/tmp', '/dev/shm'):\n    try:\n"
        "        open(folder + '/left-behind', 'w').close()\n    except OSError:\n        pass\n"
    )
    for _ in range(2):
        done = await box.run(source + "print(any(found))\n" + write)
        assert done.stdout == b"False\n"
    assert await box.left() == []


async def test_36_folders_nobody_may_enter_and_very_deep_ones_are_removed(box: Box) -> None:
    done = await box.run(
        "import os\nos.makedirs('shut/in')\nopen('shut/in/file', 'w').close()\nos.mkdir('none', 0)\n"
        "os.chmod('shut/in', 0)\nos.chmod('shut', 0)\n"
        "for _ in range(2000):\n    os.mkdir('d')\n    os.chdir('d')\n"
    )
    assert done.reason is ExitReason.OK, done.stderr
    assert await box.left() == []


async def test_37_a_set_uid_file_has_a_plain_mode_and_an_archive_stays_one(box: Box) -> None:
    files = {"tool": b"#!/bin/sh\nid -u\n", "bomb.zip": b"PK\x03\x04" + bytes(1000)}
    done = await box.run(
        "import os, stat\nfor name in ('tool', 'bomb.zip'):\n    print(oct(os.stat(name).st_mode & 0o7777))",
        files=files,
    )
    assert done.stdout == b"0o600\n0o600\n"


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/x",
        "a/../../x",
        "./x",
        "",
        "a//b",
        "a/",
        "output",
        "tmp",
        "x\0y",
        "x\ny",
        "a\\b",
        "..",
        ".",
        "é" * 200,
    ],
)
def test_37_a_name_that_could_lead_out_is_refused(name: str) -> None:
    with pytest.raises(InvalidError):
        Spec(Language.PYTHON, "main", {"main": b"", name: b""})


def test_37_files_beyond_the_disk_are_refused() -> None:
    with pytest.raises(InvalidError):
        Spec(Language.PYTHON, "main", {"main": b"", "big": bytes(2 * MIB)}, limits=Limits(disk=MIB))
    with pytest.raises(InvalidError):
        Spec(Language.PYTHON, "other", {"main": b""})
    with pytest.raises(InvalidError):
        Spec(Language.PYTHON, "main", {"main": b"", **{str(number): b"" for number in range(500)}})


async def test_descriptors_of_the_caller_are_back_to_what_they_were(box: Box) -> None:
    counts = []
    for _ in range(5):
        await box.run("print(1)")
        await box.left()
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert counts[-1] <= counts[0] + 2, counts  # an engine's connections are kept for the next call
