"""What a program hands back: a result nobody else can forge, and plain files."""

import json

import pytest

from atom.skills.sandbox import outcome
from atom.skills.sandbox.models import ExitReason, Language, Limits
from tests.skills.sandbox.conftest import Box

SEND = """
import os
def send(text):
    os.write(3, (os.environ["SKILL_RESULT_NONCE"] + " " + text).encode())
"""
NONCE = "0123456789abcdef"


async def test_input_goes_in_and_a_result_comes_out_in_each_language(box: Box) -> None:
    programs = {
        Language.PYTHON: "import json, sys\nsend(json.dumps({'twice': json.load(sys.stdin)['n'] * 2}))",
        Language.BASH: 'read -r line; n=${line//[^0-9]/}; echo "$SKILL_RESULT_NONCE {\\"twice\\": $((n * 2))}" >&3',
        Language.NODE: "const fs = require('fs'); const n = JSON.parse(fs.readFileSync(0)).n;"
        "fs.writeSync(3, process.env.SKILL_RESULT_NONCE + ' ' + JSON.stringify({twice: n * 2}))",
    }
    for language, source in programs.items():
        if language not in box.sandbox.interpreters:
            continue
        prefix = SEND if language is Language.PYTHON else ""
        done = await box.run(prefix + source, {"n": 21}, language=language)
        assert done.reason is ExitReason.OK, (language, done.detail, done.stderr)
        assert done.value == {"twice": 42}, language


async def test_32_what_is_printed_is_never_a_result(box: Box) -> None:
    done = await box.run("import os\nprint(os.environ['SKILL_RESULT_NONCE'], '{\"a\": 1}', flush=True)")
    assert done.reason is ExitReason.OK
    assert not done.has_value
    assert done.value is None


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("os.write(3, b'wrong {}')", "the nonce"),
        ("os.write(3, b'{}')", "the nonce"),
        ("send('{}\\n'); send('{}')", "more than one line"),
        ("send('NaN')", "holds NaN"),
        ("send('{\"a\": -Infinity}')", "holds -Infinity"),
        ("send('1e999')", "too large"),
        ("send('9' * 5000)", "digits"),
        ("send('[' * 100_000)", "deeper than 32"),
        ('send(\'{"a": 1, "a": 2}\')', "a name twice"),
        ("import pickle; os.write(3, os.environ['SKILL_RESULT_NONCE'].encode() + b' ' + pickle.dumps(print))", "not"),
    ],
)
async def test_32_a_forged_or_malformed_result_is_refused_with_its_reason(box: Box, source: str, why: str) -> None:
    done = await box.run(SEND + source)
    assert done.reason is ExitReason.ERROR
    assert why in done.detail
    assert not done.has_value


async def test_32_a_result_beyond_the_limit_ends_the_program(box: Box) -> None:
    done = await box.run(SEND + "send('\"')\nwhile True: os.write(3, b'x' * 65536)", limits=Limits(output=100_000))
    assert done.reason is ExitReason.OUTPUT
    assert not done.has_value


async def test_24_25_only_plain_files_come_back_and_what_did_not_is_named(box: Box) -> None:
    done = await box.run(
        """
import os, socket
os.chdir("output")
os.makedirs("deep/er")
open("deep/er/good.txt", "w").write("good")
os.symlink("/etc/passwd", "link")
os.symlink("/", "folder-link")
os.symlink("../main", "inner-link")
open("twin", "w").write("x")
os.link("twin", "twin2")
os.mkfifo("fifo")
open("back\\\\slash", "w").close()
open("line\\nend", "w").close()
os.makedirs("/".join("d" * 12))
open("archive.tar", "wb").write(b"../../etc/passwd, never unpacked")
open("sparse", "wb").truncate(1 << 27)
"""
    )
    assert done.reason is ExitReason.OK, done.stderr
    taken = {artefact.name: artefact.body for artefact in done.artefacts}
    assert taken == {"archive.tar": b"../../etc/passwd, never unpacked", "deep/er/good.txt": b"good"}
    refused = dict(done.refused)
    for name in ("link", "folder-link", "inner-link"):
        assert refused[name] == "a symbolic link"
    assert refused["twin"] == refused["twin2"] == "a hard link"
    assert refused["fifo"] == "not a file"
    assert refused["line\nend"] == refused["back\\slash"] == "its name"
    assert "bytes" in refused["sparse"]
    assert any(why == "too deep" for why in refused.values())


@pytest.mark.parametrize("target", ["/etc", "/", "../../.."])
async def test_24_an_output_folder_that_is_a_link_is_not_followed(box: Box, target: str) -> None:
    done = await box.run(f"import os\nos.rmdir('output')\nos.symlink({target!r}, 'output')")
    assert done.artefacts == ()
    assert dict(done.refused)["output"].startswith("no folder")


async def test_the_number_and_size_of_artefacts_are_bounded(box: Box) -> None:
    limits = Limits(artefacts=5, artefact_bytes=1000)
    done = await box.run("for n in range(300): open(f'output/{n}', 'w').write('x' * 10)", limits=limits)
    assert len(done.artefacts) == 5
    assert done.refused
    done = await box.run("for n in range(3): open(f'output/{n}', 'w').write('x' * 600)", limits=limits)
    assert [len(artefact.body) for artefact in done.artefacts] == [600]


async def test_usage_is_measured(box: Box) -> None:
    done = await box.run(
        "held = b'x' * (64 << 20)\nwhile __import__('time').process_time() < 0.3: pass\nprint('12345')"
    )
    assert done.usage.cpu_seconds >= 0.3
    assert done.usage.memory >= 64 << 20
    assert done.usage.bytes == 6
    assert done.usage.seconds > 0


def test_a_good_result_is_read_whatever_is_in_its_text() -> None:
    for value in ({"brackets": "[{" * 1000, "quote": '\\"['}, [1.5, None, True, "é"], "x" * 1000, 0):
        assert outcome.read(f"{NONCE} {json.dumps(value)}\n".encode(), NONCE) == value


@pytest.mark.parametrize("raw", [b"", b"x", NONCE.encode(), NONCE.encode() + b" ", NONCE.encode() + b" \xff", b"{}"])
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(outcome.BadOutcomeError):
        outcome.read(raw, NONCE)
