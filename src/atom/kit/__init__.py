"""Pure and domain-free: what every layer may use."""
