"""Packages in the sandbox: they can be imported, nobody can change them, and without any all is as before."""

from pathlib import Path

import pytest

from atom.errors import InvalidError
from atom.skills.layers.advice import Program, Trouble, advise
from atom.skills.layers.pip import Source
from atom.skills.layers.service import Layers
from atom.skills.layers.shelf import Shelf
from atom.skills.layers.target import target_of
from atom.skills.sandbox.models import ExitReason, Language, Limits, Result, Spec
from tests.skills.layers.making import put, want, wheel
from tests.skills.sandbox.conftest import PRELUDE, Box

WHERE = "import sys\nprint(sys.argv, __name__, sorted(globals()))\ndef f():\n    raise ValueError('x')\nf()\n"


async def built(box: Box, folder: Path, *wheels: tuple[str, bytes]) -> str:
    """The folder of a layer with these packages."""
    put(folder / "wheels", *wheels)
    python = box.sandbox.interpreters[Language.PYTHON].path
    layers = Layers(Shelf.open(folder / "layers"), Source(folder / "wheels"), await target_of(python))
    return str((await layers.build(want(*(name.partition("-")[0] for name, _ in wheels)))).folder)


async def run(box: Box, source: str, *layers: str, language: Language = Language.PYTHON, **files: str) -> Result:
    every = {f"scripts/{name}.py": text.encode() for name, text in files.items()} | {"scripts/main": source.encode()}
    return await box.sandbox.run(Spec(language, "scripts/main", every, limits=Limits(seconds=30), layers=layers))


async def test_packages_can_be_imported(box: Box, open_folder: Path) -> None:
    one = await built(box, open_folder, wheel("one", "1.5"))
    two = await built(box, open_folder / "second", wheel("two", files={"two.py": b"import one\n"}))
    done = await run(
        box, "import importlib.metadata, two\nprint(two.one.VERSION, importlib.metadata.version('one'))", one, two
    )
    assert (done.reason, done.stdout) == (ExitReason.OK, b"1.5 1.5\n"), done.stderr
    shell = await run(box, "python3 -c 'import one; print(one.VERSION)'", one, language=Language.BASH)
    assert shell.stdout == b"1.5\n", shell.stderr
    without = await run(box, "import one")
    assert without.reason is ExitReason.ERROR
    assert await box.left() == []


async def test_the_standard_library_and_the_skills_own_modules_go_first(box: Box, open_folder: Path) -> None:
    layer = await built(
        box, open_folder, wheel("evil", files={"json.py": b"EVIL = 1\n", "helper.py": b"WHO = 'layer'\n"})
    )
    done = await run(
        box, "import json, helper\nprint(hasattr(json, 'EVIL'), helper.WHO)", layer, helper="WHO = 'skill'\n"
    )
    assert done.stdout == b"False skill\n", done.stderr


async def test_modules_beside_a_program_can_be_imported_without_any_package(box: Box) -> None:
    done = await run(box, "import helper, sys\nprint(helper.X, sys.flags.isolated)", helper="X = 1\n")
    assert (done.reason, done.stdout) == (ExitReason.OK, b"1 1\n"), done.stderr


async def test_a_program_looks_the_same_with_and_without_packages(box: Box, open_folder: Path) -> None:
    layer = await built(box, open_folder, wheel("one"))
    for source in (
        WHERE,
        "x = (\n",
        "raise SystemExit(7)\n",
        "import sys\nsys.exit('said')\n",
        "import no_such_module\n",
    ):
        bare, packed = await run(box, source), await run(box, source, layer)
        assert (bare.reason, bare.exit_code, bare.stdout) == (packed.reason, packed.exit_code, packed.stdout)
        stripped = [done.stderr.replace(str(done.id).encode(), b"ID") for done in (bare, packed)]
        assert stripped[0] == stripped[1]
        assert b"<string>" not in packed.stderr


async def test_nobody_can_change_a_layer(box: Box, open_folder: Path) -> None:
    layer = await built(box, open_folder, wheel("one"))
    source = PRELUDE + (
        "import one\nfolder = os.path.dirname(one.__file__)\n"
        "attempt('write', lambda: open(one.__file__, 'w'))\nattempt('new', lambda: open(folder + '/new.py', 'w'))\n"
        "attempt('remove', lambda: os.remove(one.__file__))\n"
        "attempt('rename', lambda: os.rename(folder, folder + '2'))\n"
        "attempt('above', lambda: os.mkdir(folder + '/../new'))\n"
    )
    before = sorted(str(path) for path in Path(layer).rglob("*"))
    done = await run(box, source, layer)
    assert isinstance(done.value, dict), done.stderr
    assert all("DONE" not in came for came in done.value.values()), done.value
    assert sorted(str(path) for path in Path(layer).rglob("*")) == before
    assert (Path(layer) / "one" / "__init__.py").read_bytes() == b'VERSION = "1.0"\n'


async def test_nothing_of_a_layer_runs_by_itself(box: Box, open_folder: Path) -> None:
    """Also in a Python that the program starts, which looks for more."""
    early = b"import os\nos.write(2, b'EARLY')\n"
    names = ("sitecustomize.py", "usercustomize.py", "evil.pth")
    layer = await built(box, open_folder, wheel("evil", files={"evil.py": b"", **dict.fromkeys(names, early)}))
    source = "import subprocess, sys\nprint(subprocess.run(['python3', '-c', 'import evil']).returncode)\n"
    done = await run(box, source, layer)
    assert (done.stdout, done.stderr) == (b"0\n", b"")


async def test_a_layer_that_is_gone_is_a_failure_of_the_engine(box: Box, open_folder: Path) -> None:
    done = await run(box, "print(1)", str(open_folder / "layers" / "none"))
    assert (done.reason, done.stdout) == (ExitReason.ENGINE, b"")
    assert "none is not there" in done.detail


@pytest.mark.parametrize("path", ["relative", "/", "/a/../b", "/a:/b", "/a/"])
def test_only_plain_absolute_folders_are_layers(path: str) -> None:
    with pytest.raises(InvalidError):
        Spec(Language.PYTHON, "main", {"main": b""}, layers=(path,))


async def test_a_missing_module_is_told_with_what_to_do(box: Box, open_folder: Path) -> None:
    done = await run(box, "import yaml\n")
    found = advise(Program("report", Language.PYTHON), done.exit_code, done.stderr)
    assert found is not None
    assert (found.code, found.message) == (Trouble.MODULE_NOT_FOUND, "There is no module 'yaml'.")
    assert "Declare pyyaml" in found.fix
    assert "`atom skills build report`" in found.fix
    layer = await built(box, open_folder, wheel("pyyaml", files={"yaml.py": b""}))
    again = await run(box, "import yaml\n", layer)
    assert again.reason is ExitReason.OK
