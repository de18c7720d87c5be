"""Servers whose answers cannot be: the client refuses them, and nothing else suffers."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import NegotiatedConfig, ProtocolCapabilities
from palaver.protocols.asp.errors import ErrorCode, Rejection, protocol_error
from palaver.protocols.asp.events import AudioReceived, SessionRejected
from palaver.protocols.asp.frames import AudioFrame, Framing, pack
from palaver.protocols.asp.messages import Side
from palaver.protocols.asp.session import Applied
from tests.protocols.asp.ends import RawServer

FRAME = b"\0" * 320


def negotiated(framing: str) -> dict[str, Any]:
    """Return what an accepted session runs, in that framing."""
    return {"audio": {"framing": framing}, "vad": {}, "adjustments": []}


@pytest.mark.parametrize(
    ("framing", "stream", "second"),
    [
        ("asp16", 7, {"negotiated": negotiated("asp16"), "stream": 7}),
        ("asp16", 7, {"negotiated": negotiated("seq14")}),
        ("seq14", None, {"negotiated": negotiated("hash12")}),
    ],
)
def test_audio_that_could_be_that_of_another(
    framing: str, stream: int | None, second: dict[str, Any]
) -> None:
    """A session whose audio could not be told from that of another one is refused (1001)."""
    peer = RawServer()
    peer.introduce()
    peer.opened("one", negotiated=negotiated(framing), stream=stream)
    peer.asked("two")
    peer.accept("two", **second)
    assert [event.session_id for event in peer.told(SessionRejected)] == ["two"]
    frame = AudioFrame(Framing(framing), stream, FRAME, 0, 0, 0)
    peer.end.receive_bytes(pack(frame, Side.SERVER), 0.0)
    peer.events += peer.end.receive_bytes(pack(frame._replace(seq=1, samples=160), Side.SERVER), 0)
    assert [event.session_id for event in peer.told(AudioReceived)] == ["one"]


def test_a_legacy_session_that_cannot_be_run() -> None:
    """What the application cannot run is ended, and whoever waits for it is told."""

    def refuse(_session_id: str, _config: NegotiatedConfig) -> Applied:
        raise Rejection(protocol_error(ErrorCode.VAD_INITIALIZATION_ERROR, "device busy"))

    peer = RawServer(assume_legacy=True, configure=refuse)
    peer.wait(0.0)
    peer.asked()
    said = peer.say("session.started", session_id="s")
    assert [one["type"] for one in said] == ["session.end"]
    assert peer.told(SessionRejected)[0].errors[0].message == "device busy"
    assert peer.end.sessions == {}


@pytest.mark.parametrize("version", ["1.\N{SUPERSCRIPT TWO}", "1.x", "1", "1."])
def test_versions_that_are_none(version: str) -> None:
    """A version that cannot be read is taken for 1.0."""
    start = SessionRequest(session_id="s").message(ProtocolCapabilities(version=version))
    assert (start.version, start.features) == (None, None)
