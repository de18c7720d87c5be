"""Hearing, turns and speaking, in media time. The pipeline joins them to the engine."""
