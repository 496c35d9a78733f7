"""The commands of Atom's edition of the guide, pasted into a terminal in front of a real `atom up`."""

import json
import re
import time

import httpx2
import psutil
import pytest

from tests.guide.conftest import Operator, need
from tests.support.processes import agent, postgres_of, settled, start_run, until

EMPTY = "(0 rows)"


@pytest.fixture(scope="module", autouse=True)
def one_run(operator: Operator) -> str:
    """Something to ask about."""
    with operator.atom.client() as http:
        agent(http, tools=["current_time"])
        run_id = start_run(http, "What time is it?")
        assert settled(http, run_id)["status"] == "completed"
    return run_id


def rows(text: str) -> list[list[str]]:
    """The cells of what psql printed, without heading and count."""
    lines = [line for line in text.splitlines() if "|" in line]
    return [[cell.strip() for cell in line.split("|")] for line in lines[1:]]


def test_db_1_server_accepts_connections(operator: Operator) -> None:
    shown = operator.paste("Check the embedded database, which has a port of its own")
    assert (shown.code, "accepting connections" in shown.text) == (0, True)
    shown = operator.paste("Check database is running", ("5432", "$PGPORT"))
    assert (shown.code, "accepting connections" in shown.text) == (0, True)


def test_db_1_database_answers_by_the_plain_line_and_by_the_url(operator: Operator) -> None:
    for comment in ("Check database is accessible", "Test connection string"):
        shown = operator.paste(comment)
        assert (shown.code, re.findall(r"^\s+1$", shown.text, re.MULTILINE)) == (0, ["        1"])


def test_db_1_connections_are_far_below_the_limit(operator: Operator) -> None:
    shown = operator.paste("Check connection count")
    count = re.search(r"^\s+(\d+)$", shown.text, re.MULTILINE)
    assert shown.code == 0
    assert count is not None
    assert 0 < int(count[1]) < 100


def test_db_4_states_of_the_connections_are_shown(operator: Operator) -> None:
    shown = operator.paste("Check idle connections")
    assert shown.code == 0
    assert "idle" in [row[0] for row in rows(shown.text)]


def test_db_5_killing_connections_that_were_idle_for_an_hour_finds_none(operator: Operator) -> None:
    shown = operator.paste("Kill long-running idle connections, those inside a transaction too, never this one")
    assert (shown.code, EMPTY in shown.text) == (0, True)


def test_db_1_superuser_sees_the_database_as_the_guide_asks_for_it(operator: Operator) -> None:
    """Also where the system's psql is too old for the server: `atom env` brings one that fits."""
    shown = operator.paste("Verify database exists")
    assert (shown.code, shown.text.split()[:3]) == (0, ["atom", "|", "atom"])
    assert operator.guide["Verify database exists"] == r'psql -U postgres -c "\l" | grep atom'


def test_db_1_passwords_are_in_a_file_of_the_owner_and_not_in_a_variable(operator: Operator) -> None:
    assert operator.run('stat -c %a "$PGPASSFILE"').text == "600"
    assert operator.run("echo ${PGPASSWORD-none}").text == "none"


def test_db_6_url_is_shown_masked(operator: Operator) -> None:
    shown = operator.paste("Check that the DATABASE_URL environment variable is set, without showing its password")
    password = operator.run('cut -d: -f5 "$PGPASSFILE" | head -1').text
    assert shown.code == 0
    assert "DATABASE__URL" in shown.text
    assert password not in shown.text


def test_mem_2_episodes_by_tier(operator: Operator) -> None:
    """The run that has ended is an episode a moment later."""
    deadline = time.monotonic() + 20
    shown = operator.paste("Check episode cache size")
    while EMPTY in shown.text and time.monotonic() < deadline:
        shown = operator.paste("Check episode cache size")
    assert (shown.code, [row[:2] for row in rows(shown.text)]) == (0, [["hot", "1"]])
    assert "storage_tier | episode_count | table_size" in shown.text


def test_mem_5_consolidating_leaves_fewer_hot_episodes_and_loses_none(operator: Operator) -> None:
    """More than the threshold of 100, from a year ago."""
    need("curl", "jq")
    verify = "Verify cache size reduced"
    with operator.atom.client() as http:
        for number in range(110):
            said = f"Case {number}: the nightly backup of the shop is on host cobalt. " * 10
            turn = {"speaker": "Ann", "text": said, "at": f"2025-11-{number % 28 + 1:02}T09:00:00Z"}
            assert http.post("/api/episodes", json={"agent": "worker", "turns": [turn]}).status_code == 201
        before = count(operator.paste(verify).text)
        shown = operator.paste("Consolidate old episodes")
        job = json.loads(shown.text[shown.text.index("{") :])
        until(lambda: http.get(job["status_url"]).json()["status"] == "completed")
        report = http.get(job["status_url"]).json()["report"]
        tiers = http.get("/api/episodes/stats").json()["tiers"]
    assert count(operator.paste(verify).text) == before - report["episodes"] - report["alone"] + report["groups"]
    assert count(operator.paste(verify).text) < before / 1.5
    assert report["bytes_freed"] > 0
    assert sum(tier["episodes"] for tier in tiers.values()) == before + report["groups"]


def count(text: str) -> int:
    found = re.search(r"^\s+(\d+)$", text, re.MULTILINE)
    assert found is not None, text
    return int(found[1])


def test_mem_3_executions_of_the_last_minutes(operator: Operator) -> None:
    shown = operator.paste("Check active agent executions")
    assert (shown.code, ["completed", "1"] in rows(shown.text)) == (0, True)
    shown = operator.paste("List the runs that are being worked on")
    assert shown.code == 0


def test_slow_1_execution_times_by_agent(operator: Operator) -> None:
    shown = operator.paste("Check agent execution times")
    assert shown.code == 0
    (row,) = rows(shown.text)
    assert 0 < float(row[1]) <= float(row[2]) < 30
    assert row[3] == "1"


def test_slow_1_model_calls_and_percentile(operator: Operator) -> None:
    shown = operator.paste("Check how long model calls take, and how they end")
    assert [row[:4] for row in rows(shown.text)] == [["scripted", "scripted", "ok", "2"]]
    shown = operator.paste("Check P95 latency of the last hour: 95 % of the runs were faster")
    assert re.search(r"^\s+0\.\d+$", shown.text, re.MULTILINE)


def test_slow_8_governance_cache_is_warmed_and_its_hit_rate_is_there(operator: Operator) -> None:
    need("curl", "jq")
    agents = ('"agent1", "agent2", "agent3"', '"worker", "nobody"')
    shown = operator.paste("Pre-warm cache with common agents", agents)
    answer = json.loads(shown.text[shown.text.index("{") :])
    assert (answer["warmed"], answer["unknown"]) == (1, ["nobody"])
    metrics = operator.run("curl -s http://atom.example.com/metrics | grep '^governance_cache_'").text.split()
    assert 0 <= float(metrics[metrics.index("governance_cache_hit_rate") + 1]) <= 1
    assert {"governance_cache_hits_total", "governance_cache_misses_total"} <= set(metrics)


def test_slow_5_statements_with_the_columns_that_exist(operator: Operator) -> None:
    for comment in ("Check slow queries", "Find slow queries"):
        shown = operator.paste(comment)
        assert shown.code == 0, shown.text
        assert "mean_exec_time" in shown.text
        assert len(rows(shown.text)) >= 10


def test_slow_5_superuser_changes_a_setting_and_role_atom_may_not(operator: Operator) -> None:
    enable = "Enable slow query log: statements longer than 1000 ms"
    assert "permission denied to set parameter" in operator.paste(enable, ("postgres", "atom")).text
    assert operator.paste(enable).code == 0
    until(lambda: operator.run('psql -Atc "SHOW log_min_duration_statement"').text == "1s")
    reset = 'psql -U postgres -c "ALTER SYSTEM RESET log_min_duration_statement" -c "SELECT pg_reload_conf()"'
    assert operator.run(reset).code == 0


def test_slow_5_vacuum_and_slow_9_index_are_safe_to_run(operator: Operator) -> None:
    assert operator.paste("Run vacuum and analyze").code == 0
    shown = operator.paste(
        "Add indexes for slow queries; this one ships with Atom's schema, so the command finds it in place"
    )
    assert (shown.code, "already exists, skipping" in shown.text) == (0, True)
    for comment in ("Find missing indexes", "Find tables that are read from end to end"):
        assert operator.paste(comment).code == 0


def test_skill_1_failed_executions(operator: Operator) -> None:
    shown = operator.paste("Check recent skill execution failures")
    assert (shown.code, EMPTY in shown.text) == (0, True)
    assert "skill_name | error_message | failure_count | last_failure" in shown.text


def test_journal_of_a_run_can_be_read(operator: Operator, one_run: str) -> None:
    shown = operator.paste("Show a run with its steps", ("RUN", one_run))
    assert shown.code == 0
    assert [step["key"] for step in json.loads(shown.text)["steps"]] == ["turn-0", "turn-0.call-0", "turn-1"]
    for comment in ("Show the steps of the run that failed last", "Show runs that wait, and for what"):
        assert operator.paste(comment).code == 0
    shown = operator.paste("Show what governance decided last")
    assert [row[2:5] for row in rows(shown.text) if row[2] == "current_time"] == [
        ["current_time", "allow", "within_maturity"]
    ]


def test_log_1_and_log_2_lines_by_level_and_by_component(operator: Operator) -> None:
    need("jq")
    by_level = operator.guide["View logs by level"].splitlines()[0]
    assert '"level": "info"' in operator.run(by_level, ('"error"', '"info"')).text
    assert (operator.run(by_level).code, operator.run(by_level).text) == (0, "")
    by_component = "View logs by component"
    assert (operator.paste(by_component).code, operator.paste(by_component).text) == (0, "")
    shown = operator.paste(by_component, ("agent_governance", "agent_execution"))
    assert "execution.ended" in shown.text
    shown = operator.paste(
        "View logs by time range", ("2026-02-16T11", "2999-02-16T11"), ("2026-02-16T10", "2000-01-01T00")
    )
    assert "server.ready" in shown.text


def test_log_1_every_line_is_an_object_with_time_level_service_and_event(operator: Operator) -> None:
    lines = [json.loads(line) for line in (operator.atom.home / "logs" / "atom.log").read_text().splitlines()]
    assert lines
    for line in lines:
        assert {"timestamp", "level", "service", "event"} <= line.keys()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", line["timestamp"])
        assert line["level"] in {"debug", "info", "warning", "error", "critical"}


def test_log_file_is_closed_to_others(operator: Operator) -> None:
    assert (operator.atom.home / "logs").stat().st_mode & 0o077 == 0


def test_db_3_and_others_greps_find_nothing_while_nothing_is_wrong(operator: Operator) -> None:
    for comment in (
        "Check for connection errors in logs",
        "Check for slow LLM responses",
        "Check for WebSocket errors in logs",
        "Check for skill execution errors in logs",
        "Check for import errors in logs",
    ):
        assert operator.paste(comment).text == "", comment


def test_db_2_health_curl_prints_healthy(operator: Operator) -> None:
    need("curl", "jq")
    assert operator.paste("Check database health check").text.endswith('"healthy"')
    shown = operator.paste("See the whole answer, also when it is a 503")
    body = json.loads(shown.text)
    assert body["status"] == "healthy"
    assert body["checks"] == {
        "database": "healthy",
        "redis": "disabled",
        "llm": "healthy",
        "sandbox": "disabled",
        "workers": "healthy",
        "schema": "healthy",
        "vault": "disabled",
        "memory": "healthy",
    }


def test_mem_1_memory_metrics(operator: Operator) -> None:
    need("curl")
    shown = operator.paste("Check application memory metrics, asking Atom itself")
    values = {line.split()[0]: float(line.split()[1]) for line in shown.text.splitlines()}
    assert 20e6 < values["atom_memory_usage_bytes"] < values["atom_memory_limit_bytes"]


def test_ws_2_curl_with_the_handshake_headers_is_switched(operator: Operator) -> None:
    need("curl")
    shown = operator.paste("Check WebSocket endpoint", ("--max-time 5", "--max-time 1"))
    assert "HTTP/1.1 101 Switching Protocols" in shown.text


def test_ws_2_curl_as_the_guide_had_it_is_told_what_is_missing(operator: Operator) -> None:
    """Nothing hangs: a clear 4xx, also without a credential."""
    need("curl")
    plain = 'curl -s -i -N --max-time 5 -H "Connection: Upgrade" -H "Upgrade: websocket" '
    with_token = '-H "Authorization: Bearer $ATOM_TOKEN" '
    shown = operator.run(f"{plain}{with_token}http://atom.example.com/api/social/ws/feed")
    assert shown.code == 0
    assert re.match(r"HTTP/1.1 4\d\d ", shown.text)
    assert "sec-websocket-key" in shown.text.lower()
    shown = operator.run(f"{plain}http://atom.example.com/api/social/ws/feed")
    assert shown.code == 0
    assert re.match(r"HTTP/1.1 4\d\d ", shown.text)


def test_ws_3_python_client_of_the_guide_connects(operator: Operator) -> None:
    shown = operator.paste("Or use Python", ("python -c", '"$PYTHON" -c'))
    assert (shown.code, shown.text) == (0, "Connected"), shown.text


def test_process_title_names_the_role(operator: Operator) -> None:
    need("ps")
    shown = operator.paste('Check the process that serves the WebSocket feed; its title is "atom: all" or "atom: web"')
    assert str(operator.atom.pid) in shown.text


def test_variables_of_the_shell_reach_atom(operator: Operator) -> None:
    need("curl")
    shown = operator.run(
        'curl -sf -H "Authorization: Bearer $ATOM_TOKEN" "$ATOM_URL/api/agents" | jq -r ".items[].name"'
    )
    assert (shown.code, shown.text) == (0, "worker")
    assert httpx2.get(f"{operator.atom.url}/api/agents", trust_env=False).status_code == 401


def test_everything_runs_as_the_user_who_started_it(operator: Operator) -> None:
    """As root `postgres` runs as an unprivileged account; files of the home are nobody else's."""
    servers = {process.uids().real for process in postgres_of(operator.atom.home)}
    own = psutil.Process(operator.atom.pid).uids().real
    assert len(servers) == 1
    assert servers == {own} if own else 0 not in servers
    assert operator.atom.home.joinpath("admin-token").stat().st_mode & 0o777 == 0o600


def test_migrate_knows_its_own_url(operator: Operator) -> None:
    """`eval "$(atom env)"` has set DATABASE_URL; it means the embedded server that runs already."""
    shown = operator.run("atom migrate")
    assert (shown.code, "nothing to do" in shown.text) == (0, True)
