"""One live end of ASP, and its peer as raw as a test wants it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any, Final, TypeVar

import orjson

from palaver.protocols.asp.client import ClientConnection
from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import Framing, ProtocolCapabilities, VADConfig
from palaver.protocols.asp.connection import Connection
from palaver.protocols.asp.events import ConfigSwitched, Event
from palaver.protocols.asp.frames import AudioFrame, frame_key, pack
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import Feature, Side
from palaver.protocols.asp.server import ServerConnection
from palaver.protocols.asp.session import Applied, Configure, apply_as_negotiated
from palaver.protocols.asp.sessions import Sessions
from palaver.testing.asp_pair import EVERYTHING, AspPair, stamp

__all__ = [
    "FRAME",
    "OLD",
    "RawClient",
    "RawPeer",
    "RawServer",
    "agree",
    "all_of",
    "capabilities_of",
    "registry",
    "seqs",
    "switches",
]

_EventT = TypeVar("_EventT")

FRAME: Final = bytes(320)
"""20 ms of 8 kHz PCM."""

OLD: Final = ProtocolCapabilities(version="1.0.0")
"""A server that knows nothing of 1.1."""


def all_of(events: Iterable[Event], kind: type[_EventT]) -> list[_EventT]:
    """Return the events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def switches(pair: AspPair, side: Side) -> list[ConfigSwitched]:
    """Return the switches of a side."""
    return pair.told(side, ConfigSwitched)


def agree(pair: AspPair) -> None:
    """See that both sides run the same, and switched at the same messages."""
    session = pair.calls["s"]
    assert session.config.vad == pair.agent("s").config.vad
    assert session.applied == pair.agent("s").applied
    assert session.applied == Applied(session.config.audio, session.config.vad)
    assert session.undecided_from is None


def seqs(pair: AspPair, side: Side) -> list[tuple[int, int, str, VADConfig]]:
    """Return where a side switched, why, and to what."""
    return [(one.seq, one.samples, one.cause, one.vad) for one in switches(pair, side)]


def registry(
    capabilities: ProtocolCapabilities = EVERYTHING,
    limits: Limits | None = None,
    configure: Configure = apply_as_negotiated,
) -> Sessions:
    """Return a server without sockets."""
    tokens = count(1)
    return Sessions(
        capabilities,
        limits or Limits(),
        new_token=lambda: f"token-{next(tokens)}",
        stamp=stamp,
        configure=configure,
    )


class RawPeer:
    """What is said to a live end is what the test writes; ``events`` is what the end was told."""

    end: Connection[Any]
    side: Side

    def __init__(self, now: float) -> None:
        self.now = now
        self.events: list[Event] = []

    def say(self, kind: str, /, **members: Any) -> list[Any]:
        """Send a message; return what the end answers."""
        return self.text(orjson.dumps({"type": kind, **members}).decode())

    def text(self, text: str) -> list[Any]:
        """Send a text message; return what the end answers."""
        self.events += self.end.receive_text(text, self.now)
        return self.heard()

    def data(self, data: bytes) -> list[Any]:
        """Send a binary message; return what the end answers."""
        self.events += self.end.receive_bytes(data, self.now)
        return self.heard()

    def audio(
        self,
        session_id: str,
        payload: bytes = FRAME,
        *,
        framing: Framing = Framing.HASH12,
        stream: int = 1,
        **members: Any,
    ) -> list[Any]:
        """Send audio; return what the end answers."""
        key = frame_key(framing, session_id, stream)
        return self.data(pack(AudioFrame(framing, key, payload, **members), self.side))

    def heard(self) -> list[Any]:
        """Return what the end has said: objects without their timestamp, bytes, a ``Close``."""
        return [
            _without_timestamp(orjson.loads(output)) if isinstance(output, str) else output
            for output in self.end.take_output()
        ]

    def wait(self, seconds: float) -> list[Any]:
        """Let time go by at once; return what the end says then."""
        self.now += seconds
        self.events += self.end.handle_timeout(self.now)
        return self.heard()

    def closed(self) -> None:
        """Have the end notice that the socket is gone."""
        self.events += self.end.closed(self.now)

    def told(self, kind: type[_EventT]) -> list[_EventT]:
        """Return the events of one kind."""
        return all_of(self.events, kind)

    def since(self, mark: int) -> list[Event]:
        """Return the events after so many."""
        return self.events[mark:]


class RawClient(RawPeer):
    """A raw client on a socket of its own to a live server; the capabilities have been read."""

    side = Side.CLIENT

    def __init__(self, sessions: Sessions | None = None, now: float = 0.0) -> None:
        super().__init__(now)
        self.sessions = registry() if sessions is None else sessions
        self.end: ServerConnection = ServerConnection(self.sessions, now)
        self.capabilities = self.heard()[0]

    def start(self, session_id: str = "s", **members: Any) -> dict[str, Any]:
        """Ask for a session as 1.1 does, with every feature; return the answer."""
        asked = {"version": "1.1.0", "features": list(Feature), "session_id": session_id}
        answer: dict[str, Any] = self.say("session.start", **(asked | members))[0]
        return answer

    def start_old(self, session_id: str = "s", **members: Any) -> dict[str, Any]:
        """Ask for a session as 1.0.0 does; return the answer."""
        answer: dict[str, Any] = self.say("session.start", session_id=session_id, **members)[0]
        return answer

    def start_legacy(self, session_id: str = "s", **audio: Any) -> dict[str, Any]:
        """Ask for a session as a legacy client does; return the answer."""
        answer: dict[str, Any] = self.say(
            "session.start",
            session_id=session_id,
            call_id="call",
            audio_config={
                "sample_rate": 8000,
                "channels": 1,
                "sample_width": 2,
                "frame_duration_ms": 20,
            }
            | audio,
        )[0]
        return answer


class RawServer(RawPeer):
    """A raw server on a socket of its own to a live client; nothing has been said."""

    side = Side.SERVER

    def __init__(
        self,
        now: float = 0.0,
        limits: Limits | None = None,
        *,
        subprotocol: bool = False,
        assume_legacy: bool = False,
        configure: Configure = apply_as_negotiated,
    ) -> None:
        super().__init__(now)
        self.limits = limits or Limits()
        self.end: ClientConnection = ClientConnection(
            now,
            self.limits,
            stamp=stamp,
            subprotocol=subprotocol,
            assume_legacy=assume_legacy,
            configure=configure,
        )

    def introduce(self, capabilities: ProtocolCapabilities = EVERYTHING) -> list[Any]:
        """Say the capabilities."""
        return self.say("protocol.capabilities", **capabilities_of(capabilities))

    def session(self, session_id: str = "s", **members: Any) -> ClientSession:
        """Return a session that the client has not asked for yet."""
        request = SessionRequest(session_id=session_id, **members)
        return ClientSession(request, self.limits, stamp)

    def asked(self, session_id: str = "s", **members: Any) -> ClientSession:
        """Have the client ask for a session, and forget what it says."""
        session = self.session(session_id, **members)
        self.end.start(session, self.now)
        self.heard()
        return session

    def opened(self, session_id: str = "s", **members: Any) -> ClientSession:
        """Have the client ask for a session, and accept it as 1.1 does, with every feature."""
        session = self.asked(session_id)
        self.accept(session_id, **members)
        self.heard()
        return session

    def accept(self, session_id: str = "s", **members: Any) -> list[Any]:
        """Accept a session as 1.1 does, with every feature; return what the client says."""
        answer: dict[str, Any] = {
            "session_id": session_id,
            "status": "accepted",
            "negotiated": {"audio": {}, "vad": {}, "adjustments": []},
            "version": "1.1.0",
            "features": list(Feature),
            "resume_token": "token-1",
            "resume_window_ms": 30_000,
        }
        return self.say("session.started", **(answer | members))


def capabilities_of(capabilities: ProtocolCapabilities) -> dict[str, Any]:
    """Return the members of a message of capabilities."""
    return {
        "version": capabilities.version,
        "capabilities": capabilities.model_dump(mode="json", exclude_none=True),
    }


def _without_timestamp(found: dict[str, Any]) -> dict[str, Any]:
    found.pop("timestamp", None)
    return found
