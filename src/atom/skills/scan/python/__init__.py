"""Python: read by `ast` alone."""
