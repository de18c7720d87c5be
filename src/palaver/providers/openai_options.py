"""Where a server of the OpenAI API is, what it is asked with, and how much patience there is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import httpx2

from palaver.errors import ConfigError

__all__ = ["OpenAiOptions"]

_TIMES: Final = (
    "connect_timeout",
    "first_byte_timeout",
    "silence_timeout",
    "deadline",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAiOptions:
    """Where the API is, and how long and how much it may answer. Times are in seconds.

    Raises:
        ConfigError: a value cannot be used; the text never shows the key.

    """

    base_url: str
    """What the paths of the API follow, such as ``https://host/v1``."""

    model: str

    api_key: str = field(default="", repr=False)
    """Empty: none is sent."""

    connect_timeout: float = 5.0

    first_byte_timeout: float = 20.0
    """From the request to the first byte of the answer's body."""

    silence_timeout: float = 10.0
    """Between two pieces of the answer."""

    deadline: float = 120.0
    """For the whole answer, a second try included; time that the reader takes does not count."""

    max_response_bytes: int = 32 * 1024 * 1024

    max_retry_delay: float = 2.0
    """When the server asks for more patience than that, there is no second try."""

    def __post_init__(self) -> None:
        """Check every value."""
        _check_url(self.base_url)
        object.__setattr__(self, "base_url", self.base_url.rstrip("/"))
        if not self.model.strip():
            message = "model: the name of a model is missing"
            raise ConfigError(message)
        if not (self.api_key.isascii() and (self.api_key + "x").isprintable()):
            message = "api_key: a key holds visible ASCII characters only"
            raise ConfigError(message)
        if " " in self.api_key:
            message = "api_key: a key holds no spaces"
            raise ConfigError(message)
        for name in _TIMES:
            seconds = getattr(self, name)
            if not (0 < seconds < math.inf):
                message = f"{name}: must be a number of seconds over 0, not {seconds!r}"
                raise ConfigError(message)
        if self.max_response_bytes < 1:
            message = f"max_response_bytes: must be 1 or more, not {self.max_response_bytes!r}"
            raise ConfigError(message)
        if not (0 <= self.max_retry_delay < math.inf):
            message = f"max_retry_delay: must be a number of seconds, not {self.max_retry_delay!r}"
            raise ConfigError(message)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        httpx2.URL(url)
    except (ValueError, httpx2.InvalidURL):
        parts, host = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not host:
        message = "base_url: write it as https://HOST/v1"
        raise ConfigError(message)
    if parts.username is not None or parts.password is not None:
        message = "base_url: a key stands in api_key, not in the URL"
        raise ConfigError(message)
    if parts.query or parts.fragment:
        message = "base_url: paths are put behind it, so it cannot hold '?' or '#'"
        raise ConfigError(message)
