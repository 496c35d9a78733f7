"""One hardened container for each execution, by a Docker engine on this machine."""
