"""Which Python a sandbox gives to programs, asked inside of it: in a container it is another than this machine's."""

from atom.skills.layers.errors import BuildFailedError
from atom.skills.layers.models import Target
from atom.skills.layers.target import ASK, read
from atom.skills.sandbox.models import ExitReason, Language, Limits, Spec
from atom.skills.sandbox.ports import Sandbox


async def target_inside(sandbox: Sandbox) -> Target:
    """Raises BuildFailedError."""
    done = await sandbox.run(Spec(Language.PYTHON, "ask.py", {"ask.py": ASK.encode()}, limits=Limits(seconds=60)))
    try:
        if done.reason is not ExitReason.OK:
            raise ValueError(done.detail)
        return read(done.stdout)
    except (ValueError, KeyError, TypeError) as error:
        raise BuildFailedError(
            "The sandbox's Python does not say which it is.",
            hint="`atom skills sandbox probe` shows which languages there are.",
        ) from error
