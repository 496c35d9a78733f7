"""The OpenAI-compatible door: agents as models, for any client that speaks that protocol."""
