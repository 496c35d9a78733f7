"""The one door every effect of an agent passes."""
