"""Which Python a program gets: asked of the interpreter itself."""

import asyncio
import json
from pathlib import Path

from packaging.tags import platform_tags

from atom.skills.layers.errors import BuildFailedError
from atom.skills.layers.models import Target

SECONDS = 20.0
ASK = """
import json, os, platform, sys
v = sys.version_info
print(json.dumps({"version": "%d.%d.%d" % v[:3], "tag": "cp%d%d" % v[:2], "markers": {
    "implementation_name": sys.implementation.name,
    "implementation_version": "%d.%d.%d" % sys.implementation.version[:3],
    "os_name": os.name, "platform_machine": platform.machine(), "platform_release": platform.release(),
    "platform_system": platform.system(), "platform_version": platform.version(),
    "python_full_version": "%d.%d.%d" % v[:3],
    "platform_python_implementation": platform.python_implementation(), "python_version": "%d.%d" % v[:2],
    "sys_platform": sys.platform}}))
"""


async def target_of(python: str) -> Target:
    """Of an interpreter of this machine; it runs no file but its own library. Raises BuildFailedError."""
    try:
        process = await asyncio.create_subprocess_exec(
            python, "-I", "-S", "-B", "-c", ASK,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={"LANG": "C.UTF-8"}, cwd="/",
        )  # fmt: skip
    except OSError as error:
        raise _unanswered(python) from error
    try:
        async with asyncio.timeout(SECONDS):
            said, _ = await process.communicate()
        return read(said)
    except (TimeoutError, ValueError, KeyError, TypeError) as error:
        raise _unanswered(python) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def read(said: bytes) -> Target:
    """What ASK printed. Raises ValueError, KeyError, TypeError for anything else."""
    found = json.loads(said)
    return Target(str(found["version"]), str(found["tag"]), tuple(platform_tags()), dict(found["markers"]))


def _unanswered(python: str) -> BuildFailedError:
    return BuildFailedError(
        f"The sandbox's Python ({Path(python).name}) does not say which it is.",
        hint="`atom skills sandbox probe` shows which languages there are.",
    )
