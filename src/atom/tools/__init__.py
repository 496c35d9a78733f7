"""The built-in tools that an agent may be given."""
