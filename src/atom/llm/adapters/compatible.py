"""Any endpoint that speaks OpenAI's Chat Completions: Ollama, vLLM, LM Studio, DeepSeek, Mistral, OpenRouter."""

from atom.llm.adapters.openai import build

__all__ = ["build"]
