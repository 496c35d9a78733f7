"""Agent definitions and their versions."""
