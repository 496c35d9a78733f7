"""From what a program printed to what is to be done. Each text is what the interpreter really says."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.skills.layers.advice import READ, Program, Trouble, advise
from atom.skills.layers.models import Layer
from atom.skills.sandbox.models import Language
from tests.skills.layers.making import want

FROM = b'Traceback (most recent call last):\n  File "/work/./main", line 1, in <module>\n    import yaml\n'
NO_YAML = FROM + b"ModuleNotFoundError: No module named 'yaml'\n"
AGAIN = b"\nDuring handling of the above exception, another exception occurred:\n\nValueError: y\n"
PYTHON_SYNTAX = b"""  File "/work/./scripts/a.py", line 3
    x = (
        ^
SyntaxError: '(' was never closed
"""
NODE_MODULE = b"""node:internal/modules/cjs/loader:1210
  throw err;
  ^

Error: Cannot find module 'lodash'
Require stack:
- /work/main
"""
NODE_SYNTAX = b"""/work/b.js:4
let x = (;
         ^

SyntaxError: Unexpected token ';'
    at wrapSafe (node:internal/modules/cjs/loader:1464:18)
"""
LAYER = Layer("sha256:0", Path("/l"), (), 0, 0, datetime.now(UTC))


@pytest.mark.parametrize(
    ("program", "fix"),
    [
        (Program("s", Language.PYTHON), "Declare pyyaml in `# /// script`"),
        (Program("s", Language.PYTHON, wanted=want("PyYAML>=6")),
         "pyyaml>=6 is declared, but not installed: `atom skills build s`"),
        (Program("s", Language.PYTHON, wanted=want("PyYAML"), layer=LAYER), "is installed, and has no such module"),
        (Program("s", Language.PYTHON, files=["lib/yaml.py"]), "lib/yaml.py is not beside the program"),
        (Program("s", Language.BASH), "Declare pyyaml"),
    ],
)  # fmt: skip
def test_a_missing_module_has_a_fix_for_its_cause(program: Program, fix: str) -> None:
    found = advise(program, 1, NO_YAML)
    assert found is not None
    assert (found.code, found.message) == (Trouble.MODULE_NOT_FOUND, "There is no module 'yaml'.")
    assert fix in found.fix


def test_a_part_of_python_that_is_not_there_is_no_package() -> None:
    found = advise(Program("s", Language.PYTHON), 1, NO_YAML.replace(b"yaml", b"tkinter.ttk"))
    assert found is not None
    assert "belongs to Python itself" in found.fix


@pytest.mark.parametrize(
    ("language", "code", "said", "trouble", "message"),
    [
        (Language.PYTHON, 1, b"ImportError: cannot import name 'x' from 'y' (/a/y.py)\n", "import_error",
         "An import failed: cannot import name 'x' from 'y' (/a/y.py)"),
        (Language.PYTHON, 1, PYTHON_SYNTAX, "syntax_error",
         "It cannot be read in a.py, line 3: '(' was never closed"),
        (Language.PYTHON, 1, b"  File \"/work/./a\", line 2\nIndentationError: unexpected indent\n", "syntax_error",
         "It cannot be read in a, line 2: unexpected indent"),
        (Language.NODE, 1, NODE_MODULE, "module_not_found", "There is no module 'lodash'."),
        (Language.NODE, 1, b"Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'lodash' imported from /work/a.mjs\n",
         "module_not_found", "There is no module 'lodash'."),
        (Language.NODE, 1, NODE_SYNTAX, "syntax_error",
         "It cannot be read in b.js, line 4: Unexpected token ';'"),
        (Language.BASH, 127, b"./main: line 1: pdftotext: command not found\n", "missing_command",
         "There is no command 'pdftotext'."),
        (Language.BASH, 127, b"./main: line 1: /opt/x: No such file or directory\n", "missing_command",
         "There is no command '/opt/x'."),
        (Language.BASH, 127, b"", "missing_command", "There is no command."),
        (Language.BASH, 2, b"./main: line 3: syntax error: unexpected end of file\n", "syntax_error",
         "It cannot be read in main, line 3: syntax error: unexpected end of file"),
    ],
)  # fmt: skip
def test_troubles_are_known(language: Language, code: int, said: bytes, trouble: str, message: str) -> None:
    found = advise(Program("s", language), code, said)
    assert found is not None
    assert (found.code.value, found.message) == (trouble, message)
    assert found.fix


@pytest.mark.parametrize(
    ("language", "code", "said"),
    [
        (Language.PYTHON, 1, b"ValueError: No module named 'x'\n"),
        (Language.PYTHON, 1, NO_YAML + AGAIN),
        (Language.PYTHON, 1, b""), (Language.NODE, 1, b"Error: no\n"), (Language.BASH, 1, b"no\n"),
        (Language.BASH, 0, b"./main: line 1: x: command not found\n"),
    ],
)  # fmt: skip
def test_other_ends_have_no_advice(language: Language, code: int, said: bytes) -> None:
    assert advise(Program("s", language), code, said) is None


def test_what_a_program_prints_is_not_shown_as_it_is() -> None:
    found = advise(
        Program("\x1b[2J", Language.PYTHON),
        1,
        b"ModuleNotFoundError: No module named '\x1b[2J\xe2\x80\xae" + b"x" * 250 + b"'\n",
    )
    assert found is not None
    assert found.message.isprintable()
    assert found.fix.isprintable()
    assert len(found.message) < 300


@given(st.sampled_from(Language), st.binary(max_size=300) | st.sampled_from([NO_YAML * 3, b": " * READ, b"\n" * READ]))
def test_any_output_is_bounded_and_safe(language: Language, said: bytes) -> None:
    found = advise(Program("s", language), 127, said)
    assert found is None or (len(found.message) < 600 and (found.message + found.fix).isprintable())
