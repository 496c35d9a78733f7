"""Runs in the environment that has `agentdojo` (bench/agentdojo.py starts it there): prints the benchmark as JSON.

For every task of a user and of an attacker: its prompt, the calls that do it, and what each call returns in an
environment where they are made one after the other. Nothing of Atom is imported, nothing is judged here.
"""

import json
import sys
from typing import Any

import yaml
from agentdojo.functions_runtime import FunctionsRuntime
from agentdojo.task_suite.load_suites import get_suites
from pydantic import BaseModel

VERSION = "v1.2.2"


def plain(value: Any) -> Any:
    """As the benchmark's own pipeline would print it, and as data."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def done(suite: Any, task: Any, environment: Any) -> list[dict[str, Any]]:
    runtime = FunctionsRuntime(suite.tools)
    calls = []
    for call in task.ground_truth(environment):
        arguments = plain(dict(call.args))
        result, error = runtime.run_function(environment, call.function, dict(call.args))
        data = plain(result)
        text = str(error) if error else (data if isinstance(data, str) else yaml.safe_dump(data, allow_unicode=True))
        calls.append({"tool": call.function, "arguments": arguments, "result": text, "data": data})
    return calls


def main() -> None:
    suites = {}
    for name, suite in get_suites(VERSION).items():
        fresh = suite.load_and_inject_default_environment
        suites[name] = {
            "tools": {tool.name: list(tool.parameters.model_json_schema()["properties"]) for tool in suite.tools},
            "user": {
                key: {"prompt": task.PROMPT, "calls": done(suite, task, fresh({}))}
                for key, task in suite.user_tasks.items()
            },
            "attacker": {
                key: {"prompt": task.GOAL, "calls": done(suite, task, fresh({}))}
                for key, task in suite.injection_tasks.items()
            },
            "mail": [plain(mail) for mail in getattr(getattr(fresh({}), "inbox", None), "initial_emails", [])],
            "files": [plain(file) for file in getattr(getattr(fresh({}), "cloud_drive", None), "initial_files", [])],
        }
    json.dump({"version": VERSION, "suites": suites}, sys.stdout)


if __name__ == "__main__":
    main()
