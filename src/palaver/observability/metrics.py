"""Metrics in Prometheus' format: one registry for each application, so that two share nothing."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["Registry", "exposed"]

Registry = CollectorRegistry


def exposed(registry: CollectorRegistry) -> tuple[bytes, str]:
    """Return the metrics as text, and its content type."""
    return generate_latest(registry), CONTENT_TYPE_LATEST
