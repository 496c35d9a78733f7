"""JavaScript: read from its syntax tree."""
