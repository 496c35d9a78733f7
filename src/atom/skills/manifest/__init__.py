"""SKILL.md: strict in what it reports, lenient in what it reads."""
