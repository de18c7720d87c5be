"""What a call over ASAP can end in, instead of an answer. Each has the code of ASAP in ``uri``.

::

    PeerError
    ├── AsapInvalid         what the peer answered is no ASAP
    ├── AsapRefused         (PeerRefused) the peer answered with an error
    └── AsapUnreachable     (PeerUnreachable) there is no answer
"""

from __future__ import annotations

from typing import Any

from palaver.errors import PeerError, PeerRefused, PeerUnreachable
from palaver.protocols.asap.errors import AsapError, PeerAnswered

__all__ = ["AsapInvalid", "AsapRefused", "AsapUnreachable", "raised"]


class AsapInvalid(PeerError):
    """What the peer answered is not as ASAP says."""

    uri = "asap:protocol/malformed_envelope"


class AsapRefused(PeerRefused):
    """The peer answered with an error, or refused before ASAP was spoken.

    Attributes:
        code: The number of JSON-RPC; an HTTP status, or a close code, where there was none.
        uri: The code of ASAP, such as ``asap:task/not_found``; empty where none was said.
        data: ``error.data`` as it came.
        recoverable: Whether the peer says that trying again may help.
        retry_after: Seconds after which, where it says so.

    """

    def __init__(self, code: int, message: str, *, error: PeerAnswered | None = None) -> None:
        super().__init__(code, message)
        self.uri = "" if error is None else error.uri
        self.data: Any = None if error is None else error.data()
        self.recoverable = error is not None and error.recoverable
        self.retry_after = None if error is None else error.retry_after


class AsapUnreachable(PeerUnreachable):
    """There is no answer: whether the peer has done what it was asked is not known.

    ``local``: the reason is on this side, and says nothing of the peer.
    """

    def __init__(
        self, message: str, uri: str = "asap:routing/agent_unreachable", *, local: bool = False
    ) -> None:
        super().__init__(message)
        self.uri = uri
        self.local = local


def raised(error: AsapError, where: str) -> AsapRefused | AsapInvalid:
    """Return what to raise for the ``error`` that the answer of ``where`` is, or has."""
    if isinstance(error, PeerAnswered):
        return AsapRefused(error.code, error.message, error=error)
    return AsapInvalid(f"{where} answered what is no ASAP: {error.message}")
