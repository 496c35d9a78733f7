"""The audit chain: what was decided, in the order of commits, and the proof that nobody has changed it since."""
