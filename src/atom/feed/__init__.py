"""The live view of events."""
