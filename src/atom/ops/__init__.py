"""Health and checks."""
