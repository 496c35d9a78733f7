"""Each style rule of the house catches what it is there for, and leaves good code alone."""

import textwrap

import pytest

from scripts.house import budgets
from scripts.house.tree import Source

LONG_FUNCTION = "def long() -> None:\n" + "    x = 1\n" * 60
SRC = "src/atom/runs/loop.py"
TEST = "tests/runs/test_loop.py"


def found(path: str, code: str) -> list[str]:
    return [problem.message for problem in budgets.check([Source(path, textwrap.dedent(code))])]


BAD = {
    "long file": (SRC, "x = 1\n" * 501, "a file stops at 500"),
    "long function": (SRC, LONG_FUNCTION, "a function stops at 60"),
    "long test": (TEST, LONG_FUNCTION, "a function stops at 60"),
    "utils": ("src/atom/kit/utils.py", "", "says nothing"),
    "text_utils": ("src/atom/kit/text_utils.py", "", "says nothing"),
    "helpers in tests": ("tests/runs/helpers.py", "", "says nothing"),
    "manager": ("src/atom/runs/run_manager.py", "", "says nothing"),
    "core folder": ("src/atom/core/loop.py", "", "says nothing"),
    "second version": ("src/atom/runs/loop_v2.py", "", "says nothing"),
    "enhanced": ("src/atom/runs/enhanced_loop.py", "", "says nothing"),
    "new": ("src/atom/runs/new_loop.py", "", "says nothing"),
    "optional import": (SRC, "try:\n    import uvloop\nexcept ImportError:\n    uvloop = None", "an import inside try"),
    "unfinished": (SRC, "x = 1  # TO" + "DO later", "unfinished"),
    "not implemented": (SRC, "raise NotImplemented" + "Error", "unfinished"),
    "broad except": (SRC, "try:\n    f()\nexcept Exception:\n    x = 1", "broad except"),
    "bare except": (SRC, "try:\n    f()\nexcept:\n    x = 1", "broad except"),
    "broad among others": (SRC, "try:\n    f()\nexcept (ValueError, BaseException):\n    x = 1", "broad except"),
    "commit": (SRC, "async def f(session):\n    await session.commit()", "commit()"),
    "environ": (SRC, "import os\nx = os.environ['HOME']", "settings/reading.py only"),
    "getenv": (SRC, "import os\nx = os.getenv('HOME')", "settings/reading.py only"),
    "environ by name": (SRC, "from os import environ", "settings/reading.py only"),
    "event f-string": (SRC, "log.info(f'run {id} done')", "constant"),
    "event percent": (SRC, "self.log.warning('run %s done' % id)", "constant"),
    "event format": (SRC, "log.error('run {}'.format(id))", "constant"),
    "sql f-string": (SRC, "text(f'SELECT {name}')", "SQL put together"),
    "sql plus": (SRC, "session.execute('SELECT ' + name)", "SQL put together"),
    "psycopg sql f-string": (SRC, "sql.SQL(f'SELECT {name}')", "SQL put together"),
    "patch by name": (TEST, "def test_x():\n    with patch('atom.runs.loop.go'):\n        assert 1", "patches our own"),
    "setattr by name": (TEST, "monkeypatch.setattr('atom.x.y', 1)", "patches our own"),
    "patch an object": (TEST, "from atom.runs import loop\npatch.object(loop, 'go')", "patches our own"),
    "setattr on a class": (TEST, "from atom.x import A\nmonkeypatch.setattr(A.b, 'go', 1)", "patches our own"),
    "no assert": (TEST, "def test_x():\n    go()", "asserts nothing"),
    "syntax": (SRC, "def", "does not parse"),
}  # fmt: skip

GOOD = {
    "short": (SRC, "x = 1\n" * 500),
    "plain names": ("src/atom/kit/text.py", ""),
    "words inside names": ("src/atom/governance/newest.py", ""),
    "cleanup": (SRC, "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
    "narrow": (SRC, "try:\n    f()\nexcept (ValueError, KeyError):\n    x = 1"),
    "supervisor": ("src/atom/runs/worker.py", "try:\n    f()\nexcept Exception:\n    log.exception('job_failed')"),
    "unit of work": ("src/atom/infra/db.py", "async def f(session):\n    await session.commit()"),
    "settings": ("src/atom/settings/reading.py", "import os\nx = os.environ"),
    "constant event": (SRC, "log.info('runs.run_done', run_id=f'{id}')"),
    "bound sql": (SRC, "session.execute(text('SELECT :a'), {'a': 1})"),
    "composed sql": (SRC, "c.execute(sql.SQL('CREATE ROLE {}').format(sql.Identifier(name)))"),
    "patched stranger": (TEST, "def test_x(monkeypatch):\n    monkeypatch.setattr(time, 'time', f)\n    assert f()"),
    "environment of tests": (TEST, "def test_x(monkeypatch):\n    monkeypatch.setenv('ATOM_HOME', 'x')\n    assert 1"),
    "raises": (TEST, "def test_x():\n    with pytest.raises(ValueError):\n        f()"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "code", "message"), BAD.values(), ids=BAD)
def test_a_violation_is_found(path: str, code: str, message: str) -> None:
    assert any(message in one for one in found(path, code))


@pytest.mark.parametrize(("path", "code"), GOOD.values(), ids=GOOD)
def test_good_code_passes(path: str, code: str) -> None:
    assert found(path, code) == []


def test_a_problem_names_the_line() -> None:
    problem, *_ = budgets.check([Source(SRC, "x = 1\nlog.info(f'{x}')\n")])
    assert str(problem).startswith("src/atom/runs/loop.py:2: ")
