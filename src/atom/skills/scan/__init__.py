"""What a bundle can do, and what is suspicious about it: read, never executed."""
