"""One agent, several wires, one task log."""
