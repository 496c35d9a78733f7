"""Where workspaces live."""
