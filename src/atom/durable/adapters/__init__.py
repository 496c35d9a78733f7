"""Queue engines behind the port."""
