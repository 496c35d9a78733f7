"""The log is one JSON object a line that the guide's jq and grep can read; it keeps no secret and kills no service."""

import json
import logging
import os
import re
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from atom.identity.tokens import generate
from atom.infra.log import LONGEST_VALUE, QUIET, SILENT, LogFileError, configure, plain, sinks
from atom.infra.metrics import LogCollector

CANARY = "hunter2Canary9XyZ"
LEVELS = {"debug", "info", "warning", "error", "critical"}


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Configuring is for a whole process: undo it."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in (*QUIET, *SILENT)}
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
        if handler not in handlers:
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    structlog.configure(**before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "logs" / "atom.log"
    configure("info", path, stdout=False)
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def last(path: Path) -> dict[str, Any]:
    return lines(path)[-1]


def test_line_has_time_level_service_and_event(file: Path) -> None:
    structlog.get_logger().bind(service="agent_governance").error("governance.denied", error_code="denied", run_id="r1")
    line = last(file)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("timestamp"))
    assert line == {
        "level": "error",
        "service": "agent_governance",
        "event": "governance.denied",
        "error_code": "denied",
        "run_id": "r1",
    }


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_level_is_one_of_the_five_words(tmp_path: Path, level: str) -> None:
    path = tmp_path / "atom.log"
    configure("debug", path, stdout=False)
    getattr(structlog.get_logger(), level)("x.happened")
    getattr(logging.getLogger("library"), level)("said")
    assert [line["level"] for line in lines(path)] == [level, level]


def test_what_is_below_the_level_is_not_written(file: Path) -> None:
    structlog.get_logger().debug("x.detail")
    logging.getLogger("library").debug("detail")
    assert lines(file) == []


def test_exception_is_an_error_with_its_traceback_on_one_line(file: Path) -> None:
    try:
        raise ValueError("first line\nsecond line")
    except ValueError:
        structlog.get_logger().exception("x.failed")
        logging.getLogger("library").exception("failed")
    for line in lines(file):
        assert line["level"] == "error"
        assert "ValueError: first line\nsecond line" in line["exception"]


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="_"), min_size=1).filter(lambda key: key not in {"event", "self"}),
        st.text(st.characters())
        | st.floats()
        | st.integers()
        | st.binary()
        | st.none()
        | st.lists(st.text(st.characters())),
        max_size=4,
    ),
    st.text(st.characters()),
)
def test_one_object_a_line_whatever_is_logged(values: dict[str, Any], event: str) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"atom-log-{uuid4().hex}.log"
    configure("info", path, stdout=False)
    try:
        structlog.get_logger().info(event, **values)
        logging.getLogger("library").info("%s", event)
        text = path.read_text("utf-8")
        assert text.count("\n") == 2
        for line in text.splitlines():
            found = json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
            assert {"timestamp", "level", "service", "event"} <= found.keys()
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "secret",
    [
        f"sk-{CANARY}",
        f"Bearer {CANARY}",
        f"postgresql://atom:{CANARY}@db/atom",
        f"redis://:{CANARY}@cache/0",
        f"host=db password={CANARY}",
    ],
)
def test_secret_reaches_no_line_by_any_way(file: Path, secret: str) -> None:
    class Holder:
        def __repr__(self) -> str:
            return f"<Holder {secret}>"

    log = structlog.get_logger()
    log.info(f"said {secret}")  # noqa: G004 - what must not be done, done
    log.info("x", value=secret, deep={"a": [{"b": [{"c": {"d": [secret]}}]}]}, held=Holder(), error=OSError(secret))
    log.info("x", api_key=CANARY, password=CANARY, headers={"Authorization": CANARY}, key=SecretStr(CANARY))
    logging.getLogger("library").warning("said %s", secret, extra={"connection": secret})
    try:
        raise OSError(secret)
    except OSError:
        log.exception("x.failed")
        logging.getLogger("library").exception("failed")
    text = file.read_text("utf-8")
    assert text.count("\n") == 6
    assert CANARY not in text


def test_our_own_token_reaches_no_line(file: Path) -> None:
    token = generate().text
    structlog.get_logger().info("x.used", said=f"with {token}", header=token)
    assert token not in file.read_text("utf-8")
    assert token.split("_")[3] not in file.read_text("utf-8")


def test_lines_of_libraries_name_the_component_they_serve(file: Path) -> None:
    for name in ("sqlalchemy.pool", "procrastinate.worker", "websockets.server", "uvicorn.error", "anything.else"):
        logging.getLogger(name).error("said")
    services = [line["service"] for line in lines(file)]
    assert services == ["database", "worker", "websocket_manager", "api", "api"]


def test_line_is_bounded_whatever_its_values(file: Path) -> None:
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    try:
        raise ValueError("cause of it all " + "x" * 100_000 + " at the end")
    except ValueError:
        log = structlog.get_logger()
        log.exception("x.failed", text="y" * 1_000_000, many=list(range(100_000)), deep=deep)
    line = file.read_text("utf-8")
    assert len(line) < 4 * LONGEST_VALUE
    assert "at the end" in json.loads(line)["exception"]


def test_plain_value_is_json_and_keeps_what_it_can() -> None:
    value = {"path": Path("/x"), "number": 1.5, "nan": float("nan"), 3: {"b"}, "error": KeyError("k")}
    assert plain(value, 4) == {"path": "/x", "number": 1.5, "nan": "nan", "3": ["b"], "error": "KeyError('k')"}


def test_wrong_arguments_of_a_library_cost_its_line_and_nothing_else(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger().handlers = list(sinks())  # pytest's own handler would raise
    logging.getLogger("library").error("%d items", "many")
    structlog.get_logger().info("x.goes_on")
    assert [line["event"] for line in lines(file)] == ["x.goes_on"]
    assert "log.sink_failed" in capsys.readouterr().err


@pytest.mark.parametrize("bad", ["/proc/atom.log", "/dev/null/atom.log", "/"])
def test_unwritable_file_stops_the_start_with_its_reason(bad: str) -> None:
    with pytest.raises(LogFileError) as caught:
        configure("info", Path(bad), stdout=False)
    assert bad in caught.value.message
    assert "ATOM_LOGGING__FILE" in caught.value.hint


def test_pipe_that_nobody_reads_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LogFileError):
        configure("info", tmp_path / "pipe", stdout=False)


def test_full_disk_costs_lines_which_are_counted_and_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", Path("/dev/full"), stdout=False)
    for _ in range(50):
        structlog.get_logger().info("x.happened")
    [sink] = sinks()
    assert sink.dropped == 50
    registry = CollectorRegistry()
    registry.register(LogCollector())
    assert registry.get_sample_value("atom_log_dropped_total", {"sink": "file"}) == 50
    told = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in told] == ["log.sink_failed"]
    assert "No space left" in told[0]


def test_disk_that_fills_in_the_middle_of_a_line_spoils_that_line_only(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of files stands for the full disk: the write is cut short, then refused, then works again."""
    log = structlog.get_logger()
    log.info("x.before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 40, hard))
    try:
        for _ in range(3):
            log.info("x.lost")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.info("x.after")
    text = file.read_text("utf-8").splitlines()
    assert [json.loads(line)["event"] for line in (text[0], text[-1])] == ["x.before", "x.after"]
    assert len(text) == 3
    told = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert told == ["log.sink_failed", "log.sink_restored"]
    assert sinks()[0].dropped == 3


def test_lost_file_does_not_silence_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", Path("/dev/full"))
    structlog.get_logger().info("x.happened")
    assert json.loads(capsys.readouterr().out)["event"] == "x.happened"


def test_file_is_opened_anew_when_it_was_moved_or_removed(file: Path) -> None:
    log = structlog.get_logger()
    log.info("x.first")
    file.rename(file.with_name("taken.log"))
    log.info("x.second")
    file.unlink()
    log.info("x.third")
    assert [line["event"] for line in lines(file)] == ["x.third"]
    file.unlink()
    file.parent.joinpath("taken.log").unlink()
    file.parent.rmdir()
    log.info("x.fourth")
    assert [line["event"] for line in lines(file)] == ["x.fourth"]


def test_configuring_again_closes_the_file_before(tmp_path: Path) -> None:
    for number in range(200):
        configure("info", tmp_path / f"{number}.log", stdout=False)
    assert len(sinks()) == 1
    assert len(list(Path("/proc/self/fd").iterdir())) < 150


def python(code: str, **options: Any) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **options)


def test_stdout_that_was_closed_does_not_end_the_process() -> None:
    """A pager that quit, a log collector that died."""
    code = """
        import sys, structlog
        from atom.infra.log import configure, sinks
        configure("info", None)
        log = structlog.get_logger()
        log.info("x.first")
        sys.stdin.readline()
        for n in range(2000):
            log.info("x.happened", text="y" * 100)
        print("alive", sinks()[0].dropped, file=sys.stderr, flush=True)
        sys.stdin.readline()
    """
    with python(code, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["event"] == "x.first"
        process.stdout.close()
        process.stdin.write("go\n")
        process.stdin.flush()
        said = json.loads(process.stderr.readline())
        assert (said["event"], said["error_type"]) == ("log.sink_failed", "BrokenPipeError")
        assert process.stderr.readline() == "alive 2000\n"
        process.kill()


def test_process_without_any_stdout_or_stderr_logs_to_its_file(tmp_path: Path) -> None:
    script, file = tmp_path / "script.py", tmp_path / "atom.log"
    code = f"""
        import structlog
        from pathlib import Path
        from atom.infra.log import configure
        configure("info", Path({str(file)!r}))
        structlog.get_logger().info("x.happened")
    """
    script.write_text(textwrap.dedent(code))
    subprocess.run(["bash", "-c", f"exec {sys.executable} {script} >&- 2>&-"], check=True)
    assert last(file)["event"] == "x.happened"
