"""Audio from one end to the other: sizes, numbers, media time, in every framing (§6)."""

from __future__ import annotations

import pytest

from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import (
    AudioConfig,
    Framing,
    VADConfig,
)
from palaver.protocols.asp.events import (
    AudioMissing,
    AudioReceived,
)
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.messages import Side
from palaver.testing.asp_pair import AspPair
from tests.protocols.asp.ends import FRAME, RawClient


@pytest.mark.parametrize("framing", [None, *Framing])
def test_audio_from_end_to_end(framing: Framing | None) -> None:
    """Each framing carries the frames both ways, with the numbers and flags that it has."""
    pair = AspPair()
    audio = AudioConfig(sample_rate=16000, framing=framing)
    session = pair.open(SessionRequest(session_id="s", audio=audio))
    agent = pair.agent("s")
    agent.start_response(0.0)
    for frames in (1, 10, 2):
        assert session.send_audio(bytes([frames]) * 640 * frames, 0.0, FrameFlags.DTX) < 3
        agent.send_audio(bytes([frames]) * 640 * frames, 0.0, FrameFlags.FINAL | FrameFlags.DTX)
    pair.pump()
    for side in Side:
        heard = pair.told(side, AudioReceived)
        assert [one.payload[:1] for one in heard] == [b"\x01", b"\x0a", b"\x02"]
        assert [one.seq for one in heard] == [0, 1, 2]
        assert [one.samples for one in heard] == [0, 320, 3520]
    both, final = FrameFlags.FINAL | FrameFlags.DTX, FrameFlags.FINAL
    expected = {Framing.ASP16: (FrameFlags.DTX, both, 1), Framing.SEQ14: (FrameFlags(0), final, 0)}
    to_server, to_client, generation = expected.get(framing, (FrameFlags(0), FrameFlags(0), 0))
    assert {one.flags for one in pair.told(Side.SERVER, AudioReceived)} == {to_server}
    assert {one.flags for one in pair.told(Side.CLIENT, AudioReceived)} == {to_client}
    assert {one.generation for one in pair.told(Side.CLIENT, AudioReceived)} == {generation}


SIZES: list[tuple[int, bool, bool]] = [
    (0, False, False),
    (1, False, False),
    (320, True, True),
    (321, False, False),
    (480, False, True),
    (3200, True, True),
    (3520, False, True),
    (65_536, False, True),
    (65_538, False, False),
]


@pytest.mark.parametrize(("size", "strict", "loose"), SIZES)
def test_sizes_of_audio(size: int, *, strict: bool, loose: bool) -> None:
    """1.1 takes 1 to 10 whole frames; of a 1.0.0 client whole samples are enough."""
    peer = RawClient()
    peer.start("new")
    peer.start_old("old")
    for name, allowed in (("new", strict), ("old", loose)):
        heard = peer.audio(name, bytes(size))
        assert [one["error"]["code"] for one in heard] == ([] if allowed else [2004])


def test_what_a_wrong_size_is_told() -> None:
    """The error says how many bytes there are, and how many there may be."""
    peer = RawClient()
    peer.start("new", audio={"encoding": "mulaw"})
    peer.start_old("old")
    error = peer.audio("new", bytes(161))[0]["error"]
    assert error["message"] == "161 bytes of audio are not 1 to 10 frames of 160 bytes"
    assert error["details"] == {"bytes_per_frame": 160}
    assert peer.audio("old", bytes(161))[0]["error"]["message"] == (
        "161 bytes of audio are not whole samples of 2 bytes, at most 65536 bytes"
    )


def test_numbers_that_were_skipped() -> None:
    """What a client left out is told before what came instead; media time is the header's."""
    peer = RawClient()
    peer.start(audio={"framing": "asp16"})
    peer.audio("s", framing=Framing.ASP16, seq=0, samples=0)
    peer.audio("s", framing=Framing.ASP16, seq=3, samples=1000)
    assert peer.told(AudioMissing) == [AudioMissing("s", 3, 2)]
    assert [(one.seq, one.samples) for one in peer.told(AudioReceived)] == [(0, 0), (3, 1000)]
    assert isinstance(peer.events[-2], AudioMissing)


@pytest.mark.parametrize("framing", [Framing.SEQ14, Framing.ASP16])
def test_numbers_that_run_backwards(framing: Framing) -> None:
    """A number that was used is 2004, and what follows in order is taken."""
    peer = RawClient()
    peer.start(audio={"framing": framing})
    for seq in (0, 1, 2):
        peer.audio("s", framing=framing, seq=seq, samples=seq * 160)
    error = peer.audio("s", framing=framing, seq=1, samples=160)[0]["error"]
    assert (error["code"], error["message"]) == (2004, "audio message 1 came after 2")
    assert error["details"] == {"expected": 3}
    assert peer.audio("s", framing=framing, seq=3, samples=480) == []
    assert [one.seq for one in peer.told(AudioReceived)] == [0, 1, 2, 3]


@pytest.mark.parametrize("framing", [Framing.SEQ14, Framing.ASP16])
def test_numbers_that_come_round(framing: Framing) -> None:
    """After 2^32 messages, or samples, the counting goes on: the wire has the low bits."""
    peer = RawClient()
    peer.start(audio={"framing": framing})
    session = peer.sessions.get("s")
    assert session is not None
    session.inbound.expected_seq = 2**32 - 2
    session.inbound.samples_received = 2**32 - 320
    for number in range(4):
        seq = (2**32 - 2 + number) % 2**32
        samples = (2**32 - 320 + number * 160) % 2**32
        assert peer.audio("s", framing=framing, seq=seq, samples=samples, time_us=0) == []
    assert [one.seq for one in peer.told(AudioReceived)] == [2**32 - 2 + n for n in range(4)]
    assert [one.samples for one in peer.told(AudioReceived)] == [
        2**32 - 320 + n * 160 for n in range(4)
    ]
    assert peer.told(AudioMissing) == []


def test_numbers_that_come_round_from_end_to_end() -> None:
    """Both ends count on past 2^32, in both directions."""
    pair = AspPair()
    audio = AudioConfig(framing=Framing.ASP16)
    session = pair.open(SessionRequest(session_id="s", audio=audio))
    agent = pair.agent("s")
    agent.start_response(0.0)
    for one in (session, agent):
        one.next_seq = one.inbound.expected_seq = 2**32 - 1
        one.samples_sent = one.inbound.samples_received = 2**32 - 160
    for _ in range(3):
        session.send_audio(FRAME, 0.0)
        agent.send_audio(FRAME, 0.0)
    session.update(VADConfig(threshold=0.7), 0.0)
    pair.pump()
    for side in Side:
        assert [one.seq for one in pair.told(side, AudioReceived)] == [
            2**32 - 1 + n for n in range(3)
        ]
        assert [one.samples for one in pair.told(side, AudioReceived)] == [
            2**32 - 160 + n * 160 for n in range(3)
        ]
    assert session.config.vad.threshold == agent.config.vad.threshold == 0.7


def test_media_time_that_runs_backwards() -> None:
    """It is the client's mistake; its audio is in order all the same."""
    peer = RawClient()
    peer.start(audio={"framing": "asp16"})
    for seq, samples in ((0, 5000), (1, 100), (2, 5320)):
        peer.audio("s", framing=Framing.ASP16, seq=seq, samples=samples)
    assert [one.samples for one in peer.told(AudioReceived)] == [5000, 5160, 5320]


def test_refused_audio_takes_no_time_where_the_header_has_it() -> None:
    """In ``asp16`` the next message says where it begins; elsewhere the refused time counts."""
    for framing, expected in ((Framing.ASP16, [0, 160]), (Framing.HASH12, [0, 160 + 2000])):
        peer = RawClient()
        peer.start(audio={"framing": framing})
        peer.audio("s", framing=framing, seq=0, samples=0)
        peer.audio("s", bytes(4000), framing=framing, seq=1, samples=160)
        peer.audio("s", framing=framing, seq=2, samples=160)
        assert [one.samples for one in peer.told(AudioReceived)] == expected
