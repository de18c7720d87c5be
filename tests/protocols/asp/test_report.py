"""What a log says of ASP: each decision, with its session, and no secret."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from palaver.protocols.asp import events as happened
from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import (
    Adjustment,
    AudioConfig,
    NegotiatedConfig,
    SessionStatistics,
    VADConfig,
)
from palaver.protocols.asp.errors import ErrorCode, protocol_error
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.messages import AudioEndMessage, Side
from palaver.protocols.asp.report import LogLine, adjustment_lines, lines, message_values
from palaver.testing.asp_pair import EVERYTHING, AspPair

ERROR = protocol_error(ErrorCode.UNSUPPORTED_SAMPLE_RATE, "no such rate")
ADJUSTMENT = Adjustment(field="vad.threshold", requested=7, applied=1.0, reason="too much")
CONFIG = NegotiatedConfig(audio=AudioConfig(), vad=VADConfig(), adjustments=(ADJUSTMENT,))
AUDIO = AudioConfig().model_dump(mode="json", exclude_none=True)
VAD = VADConfig().model_dump(mode="json")
STATISTICS = SessionStatistics(barge_in_count=2)
ADJUSTED = {
    "session_id": "s",
    "field": "vad.threshold",
    "requested": 7,
    "applied": 1.0,
    "reason": "too much",
}
REASON = {"session_id": "s", "code": 2001, "reason": "no such rate"}

# Event → its lines: level, name, what they tell.
TOLD: list[tuple[happened.Event, list[tuple[str, str, dict[str, Any]]]]] = [
    (
        happened.SessionOpened("s", CONFIG, legacy_mode=False),
        [
            (
                "info",
                "asp_session_opened",
                {"session_id": "s", "legacy_mode": False, "audio": AUDIO, "vad": VAD},
            ),
            ("warning", "asp_config_adjusted", ADJUSTED),
        ],
    ),
    (
        happened.ConfigSwitched("s", 3, 480, CONFIG, "turn"),
        [
            (
                "info",
                "asp_config_switched",
                {"session_id": "s", "cause": "turn", "seq": 3, "samples": 480, "vad": VAD},
            ),
            ("warning", "asp_config_adjusted", ADJUSTED),
        ],
    ),
    (
        happened.SessionRejected("s", (ERROR, ERROR)),
        [("warning", "asp_session_rejected", REASON)] * 2,
    ),
    (happened.UpdateRejected("s", (ERROR,)), [("warning", "asp_update_rejected", REASON)]),
    (
        happened.ConfigMismatched("s", "a", "b"),
        [("error", "asp_config_mismatched", {"session_id": "s", "ours": "a", "theirs": "b"})],
    ),
    (happened.SessionDetached("s"), [("info", "asp_session_detached", {"session_id": "s"})]),
    (
        happened.SessionResumed("s", 4),
        [("info", "asp_session_resumed", {"session_id": "s", "replayed": 4})],
    ),
    (
        happened.SessionClosed("s", "idle"),
        [("info", "asp_session_closed", {"session_id": "s", "reason": "idle", "duration": 0.0})],
    ),
    (
        happened.SessionClosed("s", "idle", 2.5, STATISTICS),
        [
            (
                "info",
                "asp_session_closed",
                {"session_id": "s", "reason": "idle", "duration": 2.5, **STATISTICS.model_dump()},
            )
        ],
    ),
    (
        happened.MessagesLost("s", 4),
        [("warning", "asp_messages_lost", {"session_id": "s", "count": 4})],
    ),
    (
        happened.AudioMissing("s", 9, 4),
        [("warning", "asp_audio_missing", {"session_id": "s", "seq": 9, "count": 4})],
    ),
    (
        happened.RequestTimedOut("s", "session.update"),
        [
            (
                "warning",
                "asp_request_timed_out",
                {"session_id": "s", "message_type": "session.update"},
            )
        ],
    ),
    (
        happened.ErrorSent("s", ERROR, 7),
        [("warning", "asp_error_sent", REASON | {"quiet": 7})],
    ),
    (
        happened.ErrorReceived("s", ERROR),
        [("warning", "asp_error_received", REASON | {"quiet": 0})],
    ),
    (
        happened.HandshakeFailed(ERROR),
        [("warning", "asp_handshake_failed", REASON | {"session_id": None, "quiet": 0})],
    ),
    (happened.LegacySuspected(), [("info", "asp_legacy_suspected", {})]),
]

SILENT: list[happened.Event] = [
    happened.AudioReceived("s", b"", 0, 0, FrameFlags.NONE, 0),
    happened.MessageReceived("s", AudioEndMessage(session_id="s")),
    happened.CapabilitiesReceived(EVERYTHING, None),
    happened.LegacyDetected("timeout"),
    happened.PeerGoingAway("shutdown", 0),
]
"""What has no line here: it is in the traffic, or the shells tell it and know more."""


@pytest.mark.parametrize(("event", "expected"), TOLD)
def test_the_lines_of_an_event(
    event: happened.Event, expected: list[tuple[str, str, dict[str, Any]]]
) -> None:
    """Each decision has its line, with the session and what was decided."""
    assert [(line.level, line.name, dict(line.values)) for line in lines(event)] == expected


def test_every_event_is_accounted_for() -> None:
    """Each event has lines, or is known to have none."""
    told = {type(event) for event, _ in TOLD}
    silent = {type(event) for event in SILENT}
    assert told | silent == set(get_args(happened.Event))
    assert not told & silent
    assert [line for event in SILENT for line in lines(event)] == []


def test_what_a_peer_says_is_bounded() -> None:
    """A line holds so much of a peer's words and no more."""
    error = ERROR.model_copy(update={"message": "x" * 4096})
    for event in (happened.ErrorReceived(None, error), happened.SessionRejected("s", (error,))):
        assert [len(line.values["reason"]) for line in lines(event)] == [512]
    values = message_values('{"type":"' + "y" * 1000 + '","session_id":"s"}')
    assert values == {"type": "y" * 64, "session_id": "s"}


MESSAGES: list[tuple[str, dict[str, Any]]] = [
    (
        '{"type":"session.resume","session_id":"s","resume_token":"secret"}',
        {"type": "session.resume", "session_id": "s"},
    ),
    ('{"type":"protocol.go_away"}', {"type": "protocol.go_away", "session_id": None}),
    ('{"type":"dtmf","session_id":7}', {"type": "dtmf", "session_id": None}),
    ("{", {"type": None, "characters": 1}),
    ('{"type":1}', {"type": None, "characters": 10}),
]


@pytest.mark.parametrize(("text", "values"), MESSAGES)
def test_what_is_told_of_a_message(text: str, values: dict[str, Any]) -> None:
    """Its type and its session; of what cannot be read, its length."""
    assert message_values(text) == values


def test_adjustments_under_another_name() -> None:
    """A client tells what it changed itself before it asked, in the same words."""
    assert list(adjustment_lines("s", [ADJUSTMENT], "asp_request_adjusted")) == [
        LogLine("warning", "asp_request_adjusted", ADJUSTED)
    ]


def test_the_lines_of_a_call_hold_no_secret() -> None:
    """No token of a call that was resumed stands in any of its lines."""
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s"))
    pair.drop()
    pair.reconnect()
    pair.pump()
    session.end(0.0)
    pair.pump()
    told = [line for side in Side for event in pair.events[side] for line in lines(event)]
    names = [line.name for line in told]
    assert names.count("asp_session_resumed") == 2
    assert "token-" not in str(told)
