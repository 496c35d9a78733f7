"""The ledger: a row for every attempt at a model, and what they add up to."""
