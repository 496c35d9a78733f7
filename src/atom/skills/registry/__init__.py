"""Who approved exactly which bytes of a skill, and which of them may be used."""
