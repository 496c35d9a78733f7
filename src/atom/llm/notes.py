"""What is said openly about a model beside its name."""

from atom.settings import LlmSettings, Provider

LOCAL_NOTE = (
    "Built-in demo model (SmolLM2, 135M parameters): it picks a search and trims an answer out of a line; finding the"
    " line is ordinary search. Every answer is copied verbatim from your files, but it can be the wrong line. It cannot"
    " reason, calculate or summarise. Connect a real model for that."
)
SCRIPTED_NOTE = "Scripted model: its replies come from a file. It is for tests and drills."
NOTES = {Provider.LOCAL: LOCAL_NOTE, Provider.SCRIPTED: SCRIPTED_NOTE}


def note_for(provider: Provider, settings: LlmSettings) -> str | None:
    """A file of the operator's own is not the demo model: nothing is known against it."""
    if provider is Provider.LOCAL and settings.local.model_path is not None:
        return None
    return NOTES.get(provider)
