"""Shell: read from its syntax tree."""
