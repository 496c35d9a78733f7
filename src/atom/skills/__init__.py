"""Skills: bundles of instructions and scripts that an agent may be given. Nothing in here executes them."""
