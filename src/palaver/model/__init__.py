"""What tasks, messages, parts, artifacts and events are. Pure: no I/O, no clock, no randomness."""
