"""Provider keys: what people bring, how it is used, and in which order."""
