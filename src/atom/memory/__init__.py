"""Memory: what agents went through, kept verbatim, and found again."""
