"""The schema, one numbered line of history."""
