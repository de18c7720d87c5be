"""What a server hears of a call is decided by what was negotiated, as it is at the other end."""

from __future__ import annotations

import pytest

from palaver.engine.agent import Agent
from palaver.engine.turn import Turn
from palaver.protocols.asp.config import VADConfig
from palaver.protocols.asp.messages import AudioSpeechEndMessage, AudioSpeechStartMessage
from palaver.speech.energy import EnergyDetector
from palaver.speech.heard import Heard, SpeechConfirmed, SpeechEnded
from palaver.speech.hearing import StreamingVAD
from tests.speech.calls import FRAME, Caller, calling, exchange, silence, speech

agent = Agent("silent", version="1")
SAID = b"".join(
    (
        *(silence(400), speech(160), silence(900)),  # a short word
        *(speech(400), silence(360), speech(400), silence(2_000)),  # two, and a pause
    )
)
Seen = tuple[str, int | None, int | None, bool | None, str | None]


@agent.skill("mute")
async def mute(turn: Turn) -> None:
    """Say nothing."""


def at_the_other_end(hearing: StreamingVAD, audio: bytes) -> list[Seen]:
    """Return what the client's own detection hears, as the server would tell it."""
    size = 2 * FRAME
    frames = [audio[at : at + size] for at in range(0, len(audio), size)]
    return [seen(event) for frame in frames for event in hearing.process(frame)]


def seen(event: Heard) -> Seen:
    """Return what a message says of it."""
    if isinstance(event, SpeechEnded):
        return ("ended", event.start_ms, event.end_ms, event.discarded, event.reason)
    confirmed = isinstance(event, SpeechConfirmed)
    return ("started", event.start_ms, event.prefix_ms, confirmed, None)


def at_the_server(caller: Caller) -> list[Seen]:
    """Return what the server has told of the caller's speech."""
    ended = [
        ("ended", one.start_ms, one.end_ms, one.discarded, one.reason)
        for one in caller.messages(AudioSpeechEndMessage)
    ]
    started = [
        ("started", one.start_ms, one.prefix_ms, one.confirmed, None)
        for one in caller.messages(AudioSpeechStartMessage)
    ]
    return sorted([*ended, *started], key=repr)


# What a media server asks for → how many utterances that makes of it, and how many discarded ones.
CONFIGURATIONS: list[tuple[VADConfig, int, int]] = [
    (VADConfig(), 1, 1),
    (VADConfig(silence_threshold_ms=200), 2, 1),
    (VADConfig(min_speech_ms=100), 2, 0),
    (VADConfig(silence_threshold_ms=200, min_speech_ms=100), 3, 0),
    (VADConfig(prefix_padding_ms=0, ring_buffer_frames=3), 1, 1),
    (VADConfig(min_speech_ms=1_000), 0, 2),
]


@pytest.mark.parametrize(("vad", "utterances", "discarded"), CONFIGURATIONS)
async def test_both_ends_hear_what_was_negotiated(
    vad: VADConfig, utterances: int, discarded: int
) -> None:
    """Each value matters at the server, and both ends tell the same times of the same speech."""
    async with exchange(agent, []) as place, calling(place, vad=vad) as caller:
        config = caller.session.config
        hearing = StreamingVAD(config.audio, config.vad, EnergyDetector(8_000))
        heard = at_the_other_end(hearing, SAID)
        await caller.say(SAID)
        await caller.until(lambda _: len(at_the_server(caller)) >= len(heard))
        assert at_the_server(caller) == sorted(heard, key=repr)
        ends = [one for one in heard if one[0] == "ended"]
        assert len(ends) == utterances + discarded
        assert sum(one[3] is True for one in ends) == discarded


async def test_both_ends_hear_by_other_values_from_the_boundary_on() -> None:
    """What an update has changed holds for the audio behind it, and for none before."""
    async with exchange(agent, []) as place, calling(place, vad=VADConfig()) as caller:
        config = caller.session.config
        hearing = StreamingVAD(config.audio, config.vad, EnergyDetector(8_000))
        heard = at_the_other_end(hearing, SAID)
        await caller.say(SAID)
        switch = await caller.session.update(VADConfig(silence_threshold_ms=200))
        hearing.switch(switch.vad, switch.samples)
        heard += at_the_other_end(hearing, SAID)
        await caller.say(SAID)
        await caller.until(lambda _: len(at_the_server(caller)) >= len(heard))
        assert at_the_server(caller) == sorted(heard, key=repr)
        ends = [one for one in heard if one[0] == "ended" and not one[3]]
        assert len(ends) == 1 + 2
