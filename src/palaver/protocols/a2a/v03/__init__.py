"""A2A 0.3, and 0.2 with it."""
