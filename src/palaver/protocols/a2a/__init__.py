"""A2A, in its three generations: 0.1 (the legacy one), 0.3 (with 0.2) and 1.0."""
