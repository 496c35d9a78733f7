"""SDKs are imported when they are first used, in a thread, while calls through others go on."""

import subprocess
import sys

PROGRAM = """
import asyncio, importlib, importlib.abc, importlib.machinery, sys, threading
from pydantic import SecretStr
from atom.llm.access import environment_access
from atom.llm.service import adapter_factories
from atom.llm.testing import ask
from atom.settings import LlmSettings, Provider

begun, go_on = threading.Event(), threading.Event()


class Slow(importlib.abc.MetaPathFinder):
    "The import of a module of httpx takes long: half of the package is there."

    def find_spec(self, name, path=None, target=None):
        if name != "httpx._config":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def slowly(module):
            begun.set()
            go_on.wait(20)
            execute(module)

        spec.loader.exec_module = slowly
        return spec


async def main():
    settings = LlmSettings(openai_api_key=SecretStr("sk-x"), openai_base_url="http://127.0.0.1:9/v1")
    model = await adapter_factories(settings)[Provider.OPENAI](environment_access(settings, Provider.OPENAI))
    sys.meta_path.insert(0, Slow())
    importing = threading.Thread(target=importlib.import_module, args=("httpx",))  # as Google's SDK does it
    importing.start()
    while importing.is_alive() and not begun.is_set():
        await asyncio.sleep(0.01)
    try:
        await anext(model.stream(ask("x")))
    except Exception as error:
        print(type(error).__name__)
    go_on.set()
    importing.join()


asyncio.run(main())
"""


def test_a_call_is_not_hurt_by_the_import_of_another_sdk() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("ModelUnavailableError\n", 0), done.stderr
