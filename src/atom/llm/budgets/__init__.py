"""Budgets: limits on what models may cost, reserved before a call and settled after it."""
