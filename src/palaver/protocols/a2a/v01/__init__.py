"""A2A 0.1, the legacy generation."""
