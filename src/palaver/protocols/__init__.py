"""The wires, sans-I/O: bytes and values in, bytes and values out. No clock, no socket."""
