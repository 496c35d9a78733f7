"""Skills: bundles of instructions and scripts that an agent may be given, and the sandbox they run in."""
