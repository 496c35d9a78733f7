"""Everything that is to be said of a bundle, without executing any of it."""
