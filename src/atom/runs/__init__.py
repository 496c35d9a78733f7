"""The agent loop as a journaled job."""
