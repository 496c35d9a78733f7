"""Evidence of what agents did, and what it lets people and the rules do about their maturity."""
