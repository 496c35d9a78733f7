"""Libraries that skills are looked at with."""
