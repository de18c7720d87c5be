"""§13 of the ASP page, written out: where speech begins and ends, found by looking back each time.

It is slow, remembers nothing that the page does not name, and shares no code with the machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from palaver.protocols.asp.config import VADConfig
from palaver.speech.heard import EndReason, Heard, SpeechConfirmed, SpeechEnded, SpeechStarted

__all__ = ["by_the_rules"]


@dataclass
class _Utterance:
    """What is open: ``last`` is after its last voiced frame, ``sure`` after its last firm one.

    Frames are numbered from 0. Until one is firm, ``sure`` is where its beginning left off.
    """

    start: int
    prefix_ms: int
    voiced: int
    last: int
    sure: int
    least_ms: int
    confirmed: bool = False


def by_the_rules(
    probabilities: Sequence[float],
    vad: VADConfig,
    frame_ms: int,
    *,
    firmness: float = 0.7,
    doubt_ms: int = 120,
    longest_ms: int = 30_000,
) -> list[Heard]:
    """Return what §13 says of these frames."""
    events: list[Heard] = []
    speech = [p >= vad.threshold for p in probabilities]
    firm = [p >= vad.threshold + firmness * (1 - vad.threshold) for p in probabilities]
    needed = math.ceil(round(vad.speech_ratio * 1e6) * vad.ring_buffer_frames / 1e6)
    silence = math.ceil(vad.silence_threshold_ms / frame_ms)
    doubt = min(doubt_ms // frame_ms, silence - 1)
    now: _Utterance | None = None
    used = floor = 0  # frames that no other utterance may begin with; audio that has been said

    def end(frame: int, reason: EndReason) -> None:
        nonlocal now, used, floor
        assert now is not None
        last = max(now.start, now.last)
        used, floor = last, last if now.confirmed else floor
        reason = reason if now.confirmed else "too_short"
        events.append(SpeechEnded(*(ms * frame_ms for ms in (now.start, last, frame)), reason))
        now = None

    for frame in range(1, len(speech) + 1):
        first = max(used, frame - vad.ring_buffer_frames)
        hits = [place for place in range(first, frame) if speech[place]]
        enough = len(hits) >= needed
        begins = now is None
        if now is None:
            if not enough or frame < vad.ring_buffer_frames:
                continue
            prefix_ms = min(vad.prefix_padding_ms, (hits[0] - floor) * frame_ms)
            last = hits[-1] + 1
            now = _Utterance(hits[0], prefix_ms, len(hits), last, last, vad.min_speech_ms)
            events.append(SpeechStarted(now.start * frame_ms, prefix_ms, frame * frame_ms))
        else:
            voiced = speech[frame - 1] and enough
            now.voiced += voiced
            now.last = frame if voiced else now.last
            now.sure = frame if voiced and firm[frame - 1] else now.sure
        if not now.confirmed and now.voiced * frame_ms >= now.least_ms:
            now.confirmed = True
            at_ms = frame * frame_ms
            events.append(SpeechConfirmed(now.start * frame_ms, now.prefix_ms, at_ms))
        elif begins:
            continue
        elif frame - now.sure >= silence and frame - now.last >= silence - doubt:
            end(frame, "silence")
        elif (frame - now.start) * frame_ms >= longest_ms and not enough:
            end(frame, "max_duration")
        elif (frame - now.start) * frame_ms >= longest_ms:
            least_ms = 1 if now.confirmed else vad.min_speech_ms
            ring, rest = used, _Utterance(frame, 0, 0, now.last, now.sure, least_ms)
            now.last = frame
            end(frame, "max_duration")
            used, now = ring, rest
            events.append(SpeechStarted(frame * frame_ms, 0, frame * frame_ms))
    return events
