"""The filtering proxy: the only way from a sandbox to the hosts that a program may reach."""

from atom.skills.sandbox.egress import trust
from atom.skills.sandbox.egress.bounds import Bounds
from atom.skills.sandbox.egress.gate import Gate, Outside

__all__ = ["Bounds", "Gate", "Outside", "trust"]
