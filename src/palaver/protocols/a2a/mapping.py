"""The dialects (stubs)."""

from __future__ import annotations

from palaver.protocols.a2a.commands import Dialect, Generation

V10: Dialect
V03: Dialect
V01: Dialect


def dialect(generation: Generation) -> Dialect:
    raise NotImplementedError


def wire_name(generation: Generation) -> str:
    """Return ``TaskCreated.wire`` of that generation: ``a2a-1.0``."""
    return f"a2a-{generation}"
