"""Stores: the interfaces, and one file per backend."""
