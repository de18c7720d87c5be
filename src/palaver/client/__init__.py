"""The other side of each wire: shells that mirror ``palaver.server``."""

from palaver.client.a2a import A2aClient
from palaver.client.asap import AsapClient, AsapSettings
from palaver.client.asap_pool import AsapPool
from palaver.client.asp import AspClient
from palaver.client.asp_config import MediaServerConfigBuilder
from palaver.client.discovery import choose_interface, fetch_card
from palaver.client.transport import Patience, http_client

__all__ = [
    "A2aClient",
    "AsapClient",
    "AsapPool",
    "AsapSettings",
    "AspClient",
    "MediaServerConfigBuilder",
    "Patience",
    "choose_interface",
    "fetch_card",
    "http_client",
]
