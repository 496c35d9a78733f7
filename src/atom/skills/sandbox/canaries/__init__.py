"""Programs that try what a sandbox must not let them, and the judgement of what came of it."""

from atom.skills.sandbox.canaries.judge import probe

__all__ = ["probe"]
