"""Spans go out when somebody collects them, and cost nothing and break nothing when nobody does."""

import subprocess
import sys
import time
from dataclasses import replace
from uuid import UUID

import pytest
import structlog
from pydantic import SecretStr

from atom.errors import AtomError
from atom.infra.otel import QUEUE_SPANS, exporting_tracer
from atom.infra.trace import MAX_TEXT_CHARS, NO_TRACER, Tracer, open_tracer, text_of
from atom.settings import SettingsError, TracingSettings, load
from tests.support.collector import Collector, collector, plain

__all__ = ["collector"]
RUN = UUID("01a20ff8-a21c-744f-935a-f32d12390387")


class Unlucky(AtomError):
    code = "unlucky"


class Left(AtomError):
    code = "left"


def tracer_to(collector: Collector, **changes: object) -> Tracer:
    settings = TracingSettings.model_validate({"enabled": True, "endpoint": collector.url} | changes)
    return open_tracer(settings, "1.2.3")


def in_a_child(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_of_it_is_loaded_while_tracing_is_off() -> None:
    code = (
        "import sys, atom.wiring\n"
        "from atom.infra.trace import open_tracer\n"
        "from atom.settings import TracingSettings\n"
        "print(open_tracer(TracingSettings(), 'x').on)\n"
        "ours = 'opentelemetry.sdk', 'opentelemetry.exporter', 'atom.infra.otel'\n"
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    assert in_a_child(code) == "False\n[]"


def test_without_the_extra_it_says_what_to_install_and_goes_on() -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from atom.infra.trace import open_tracer\n"
        "from atom.settings import TracingSettings\n"
        "tracer = open_tracer(TracingSettings(enabled=True), 'x')\n"
        "with tracer.span('a', {}) as span: span.set({'b': 1})\n"
        "tracer.close()\n"
        "print(tracer.on)"
    )
    said = in_a_child(code)
    assert "trace.extra_missing" in said
    assert 'pip install "atom-platform[otel]"' in said
    assert said.endswith("False")


def test_spans_arrive_at_the_collector_as_they_were(collector: Collector) -> None:
    tracer = tracer_to(collector, headers="x-team=ops, authorization=Basic abc==")
    with tracer.span("outer", {"a": "x", "n": 3, "none": None, "list": ("p", "q")}, trace=RUN) as outer:
        with tracer.span("inner", {}, client=True):
            pass
        outer.set({"late": True})
    tracer.close()
    [top], [below] = collector.named("outer"), collector.named("inner")
    assert top.trace_id == below.trace_id == RUN.bytes
    assert (top.parent_span_id, below.parent_span_id) == (b"", top.span_id)
    assert plain(top.attributes) == {"a": "x", "n": 3, "list": ["p", "q"], "late": True}
    assert (top.kind, below.kind) == (1, 3)  # internal, client
    assert {"service.name": "atom", "service.version": "1.2.3"}.items() <= collector.resource.items()
    assert (collector.headers[0]["x-team"], collector.headers[0]["authorization"]) == ("ops", "Basic abc==")


def test_the_trace_of_an_id_begins_anew_wherever_it_is_asked_for(collector: Collector) -> None:
    tracer = tracer_to(collector)
    with tracer.span("first", {}):
        with tracer.span("stint", {}, trace=RUN):
            pass
        with tracer.span("second", {}):
            pass
    tracer.close()
    [first], [stint], [second] = (collector.named(name) for name in ("first", "stint", "second"))
    assert (stint.trace_id, stint.parent_span_id) == (RUN.bytes, b"")
    assert first.trace_id == second.trace_id != RUN.bytes


@pytest.mark.parametrize(
    ("error", "kind"),
    [(Unlucky("sk-canary and the prompt"), "unlucky"), (Left("x"), None), (ValueError("sk-canary"), "ValueError")],
)
def test_an_error_leaves_its_code_and_never_its_words(collector: Collector, error: Exception, kind: str | None) -> None:
    tracer = tracer_to(collector)
    with pytest.raises(type(error)), tracer.span("work", {}, unfailing=(Left,)):
        raise error
    tracer.close()
    [span] = collector.named("work")
    assert plain(span.attributes).get("error.type") == kind
    assert span.status.code == (2 if kind else 0)
    assert b"canary" not in collector.raw
    assert not span.events


@pytest.mark.parametrize("trouble", ["hangs", "503", "gone"])
def test_a_collector_in_trouble_costs_spans_and_no_time(collector: Collector, trouble: str) -> None:
    with structlog.testing.capture_logs() as events:
        settings = TracingSettings(enabled=True, endpoint=collector.url)
        tracer = replace(exporting_tracer(settings, "1"), close_seconds=0.5)
        if trouble == "hangs":
            collector.hangs.set()
        elif trouble == "gone":
            collector.server.server_close()
        else:
            collector.status = 503
        began = time.monotonic()
        for _ in range(3 * QUEUE_SPANS):
            with tracer.span("work", {}):
                pass
        assert time.monotonic() - began < 10
        began = time.monotonic()
        tracer.close()
        assert time.monotonic() - began < 10
    assert len([event for event in events if event.get("endpoint") == collector.url]) <= 1


def test_a_collector_that_comes_back_gets_what_follows(collector: Collector) -> None:
    collector.status = 400  # for good, as far as the library is concerned: no retries that would take time
    with structlog.testing.capture_logs() as events:
        tracer = exporting_tracer(TracingSettings(enabled=True, endpoint=collector.url), "1")
        for name in ("lost", "arrives"):
            with tracer.span(name, {}):
                pass
            tracer.provider.force_flush()
            collector.status = 200
        tracer.close()
    assert [span.name for span in collector.spans] == ["arrives"]
    told = [(event["event"], event.get("lost")) for event in events]
    assert told == [("trace.export_failed", None), ("trace.export_works_again", 1)]


def test_a_text_is_bounded_and_without_keys() -> None:
    assert text_of("use sk-canary1234567890 now") == "use ******** now"
    assert len(text_of("x" * 1_000_000)) < MAX_TEXT_CHARS + 10


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://x", "http://"])
def test_an_endpoint_that_is_no_address_stops_the_start(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="ATOM_TRACING__ENDPOINT"):
        load({"ATOM_TRACING__ENDPOINT": endpoint})


def test_texts_and_tracing_are_off_unless_somebody_turns_them_on() -> None:
    settings = load({}).tracing
    assert (settings.enabled, settings.content, settings.headers) == (False, False, None)
    assert open_tracer(settings, "1") is NO_TRACER
    assert SecretStr("x") == load({"ATOM_TRACING__HEADERS": "x"}).tracing.headers
