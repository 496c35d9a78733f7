"""Policies: rules of a deployment that make decisions stricter, never looser."""
