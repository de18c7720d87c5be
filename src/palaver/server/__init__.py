"""The HTTP surface: thin shells around the protocol cores."""
