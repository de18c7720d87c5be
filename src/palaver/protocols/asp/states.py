"""What may follow: one table a side, and who may say what.

A session steps with each message of it, sent or received, so both sides walk the same way; the
client's table has more rows, because what the server sent before it heard may still arrive. A
session whose socket was lost keeps its state: resumption is about delivery, not about state.

Rules of the tables:

* A key is the ``type`` of a message; ``audio`` is a binary one, from either side.
* ``session.started rejected`` stands for that answer with status ``rejected``.
* A received message that has no entry is answered with 4004 and changes nothing; one that we
  would send and that has none raises ``Misuse``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from palaver.protocols.asp.messages import MESSAGES, Feature, Side

__all__ = [
    "AUDIO",
    "LINK",
    "MUTE",
    "REJECTED",
    "SESSION",
    "UNNUMBERED",
    "LinkState",
    "SessionState",
]


class LinkState(StrEnum):
    """Where a socket stands."""

    CONNECTED = "connected"
    """It is open; the capabilities are on their way."""
    CAPS_RECEIVED = "caps_received"
    """The client knows what the server takes, or that it is a legacy server."""
    CLOSED = "closed"


class SessionState(StrEnum):
    """Where a session stands."""

    IDLE = "idle"
    NEGOTIATING = "negotiating"
    ACTIVE = "active"
    UPDATING = "updating"
    ENDING = "ending"
    CLOSED = "closed"


AUDIO: Final = "audio"
REJECTED: Final = " rejected"

_IDLE, _NEGOTIATING, _ACTIVE, _UPDATING, _ENDING, _CLOSED = SessionState

_FROM_CLIENT: Final = (
    AUDIO,
    "audio.speech_start",
    "audio.speech_end",
    "audio.end",
    "response.cancel",
    "playback.mark",
    "dtmf",
    "session.ack",
    "session.confirm",
    "protocol.error",
)
_FROM_SERVER: Final = (
    AUDIO,
    "audio.speech_start",
    "audio.speech_end",
    "response.start",
    "response.end",
    "playback.mark",
    "transcript",
    "turn.override",
    "call.action",
    "session.ack",
    "protocol.error",
)


def _stay(state: SessionState, types: tuple[str, ...]) -> dict[str, SessionState]:
    return dict.fromkeys(types, state)


LINK: Final[Mapping[LinkState, Mapping[str, LinkState]]] = MappingProxyType(
    {
        LinkState.CONNECTED: {
            "protocol.capabilities": LinkState.CAPS_RECEIVED,
            "legacy": LinkState.CAPS_RECEIVED,
            "closed": LinkState.CLOSED,
        },
        LinkState.CAPS_RECEIVED: {
            # A server that was taken for a legacy one by what was remembered of it.
            "protocol.capabilities": LinkState.CAPS_RECEIVED,
            "closed": LinkState.CLOSED,
        },
        LinkState.CLOSED: {},
    }
)
"""State of a socket → what happens → state. ``legacy`` is the client's verdict."""

_CLIENT_SESSION: Final[Mapping[SessionState, Mapping[str, SessionState]]] = MappingProxyType(
    {
        _IDLE: {"session.start": _NEGOTIATING},
        _NEGOTIATING: {
            "session.started": _ACTIVE,
            "session.started" + REJECTED: _IDLE,
            "session.end": _ENDING,
            "session.ended": _CLOSED,
            "protocol.error": _IDLE,
        },
        _ACTIVE: {
            **_stay(_ACTIVE, (*_FROM_CLIENT, *_FROM_SERVER, "session.resume", "session.resumed")),
            "session.update": _UPDATING,
            "session.end": _ENDING,
            "session.ended": _CLOSED,
        },
        _UPDATING: {
            **_stay(_UPDATING, (*_FROM_CLIENT, *_FROM_SERVER, "session.resume", "session.resumed")),
            "session.updated": _ACTIVE,
            "session.end": _ENDING,
            "session.ended": _CLOSED,
        },
        _ENDING: {
            # What the server said before it heard of the end.
            **_stay(_ENDING, (*_FROM_SERVER, "session.resume", "session.resumed")),
            "session.started": _ENDING,
            "session.started" + REJECTED: _CLOSED,
            "session.updated": _ENDING,
            "session.ended": _CLOSED,
        },
        _CLOSED: {},
    }
)

_SERVER_SESSION: Final[Mapping[SessionState, Mapping[str, SessionState]]] = MappingProxyType(
    {
        _IDLE: {"session.start": _NEGOTIATING},
        _NEGOTIATING: {
            "session.started": _ACTIVE,
            "session.started" + REJECTED: _IDLE,
        },
        _ACTIVE: {
            **_stay(_ACTIVE, (*_FROM_CLIENT, *_FROM_SERVER, "session.resume", "session.resumed")),
            "session.update": _UPDATING,
            "session.end": _ENDING,
            "session.ended": _CLOSED,
        },
        # Updates and ends are answered before anything else of the session is read.
        _UPDATING: {"session.updated": _ACTIVE},
        _ENDING: {"session.ended": _CLOSED},
        _CLOSED: {},
    }
)

SESSION: Final[Mapping[Side, Mapping[SessionState, Mapping[str, SessionState]]]] = MappingProxyType(
    {Side.CLIENT: _CLIENT_SESSION, Side.SERVER: _SERVER_SESSION}
)
"""Side → state → message → state."""

MUTE: Final = frozenset({SessionState.ENDING})
"""States in which a side only listens, but for ``session.ack`` and ``session.resume``."""

UNNUMBERED: Final = frozenset(
    {"session.start", "session.started", "session.ack", "session.resume", "session.resumed"}
)
"""Messages of a session that are not counted for its resumption; all others are, audio too."""


def may_send(side: Side, message_type: str, features: frozenset[Feature]) -> bool:
    """Tell whether that side may send such a message where those features were agreed."""
    message = MESSAGES[message_type]
    return side in message.sender and (message.feature is None or message.feature in features)
