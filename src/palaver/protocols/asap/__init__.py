"""ASAP 1.1, the Async Simple Agent Protocol: one agent asks another."""
