"""Test vectors of ASP's endpointing: frames in, what is heard out, as our machine decides it.

``python -m tests.docs.generated`` writes them. What a frame's probability is, is written there; so
a machine can be tried on them without a detector and without audio.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from palaver.protocols.asp.config import VERSION, AudioConfig, VADConfig
from palaver.speech import hearing
from palaver.speech.detector import Probabilities, Samples, Stream
from palaver.speech.endpointing import EndpointingOptions
from palaver.speech.heard import Heard, SpeechConfirmed, SpeechEnded, SpeechStarted
from palaver.speech.hearing import AudioBuffer

__all__ = ["CASES", "VECTORS", "Replay", "Step", "told"]

Step = tuple[float, int] | str | Mapping[str, Any]
"""So many frames of a probability; ``gap N`` frames that never came; ``commit``; VAD values."""

_OPTIONS: Final = EndpointingOptions()
_LOW, _WEAK, _FIRM = 0.1, 0.6, 0.9
_QUIET: Final[Step] = (_LOW, 10)
_SPOKEN: Final[Step] = (_FIRM, 20)
_PAUSE: Final[Step] = (_LOW, 40)

CASES: Final[Mapping[str, tuple[Mapping[str, Any], int, Sequence[Step]]]] = MappingProxyType(
    {
        # what it shows: values that are no defaults, frame_duration_ms, steps
        "a sentence, between silences": ({}, 20, [_QUIET, _SPOKEN, _PAUSE]),
        "frames of 10 ms": ({}, 10, [(_LOW, 40), (_FIRM, 40), (_LOW, 60)]),
        "frames of 30 ms: 500 ms are 17 of them": ({}, 30, [_QUIET, _SPOKEN, _PAUSE]),
        "speech from the first frame on waits for a full ring": ({}, 20, [_SPOKEN, _PAUSE]),
        "what is too short is discarded": ({}, 20, [_QUIET, (_FIRM, 12), _PAUSE]),
        "13 voiced frames are 250 ms": ({}, 20, [_QUIET, (_FIRM, 13), _PAUSE]),
        "the beginning is the first frame of speech in the ring": (
            {"ring_buffer_frames": 10, "speech_ratio": 0.3},
            20,
            [_QUIET, (_FIRM, 1), (_LOW, 6), (_FIRM, 1), (_LOW, 1), (_FIRM, 20), _PAUSE],
        ),
        "half of a ring of five is three": (
            {"speech_ratio": 0.5},
            20,
            [_QUIET, (_FIRM, 2), (_LOW, 10), (_FIRM, 3), (_LOW, 40)],
        ),
        "the threshold itself is speech, what is below is none": (
            {},
            20,
            [_QUIET, (0.499, 20), (0.5, 20), _PAUSE],
        ),
        "a pause that is shorter than the silence": (
            {},
            20,
            [_QUIET, _SPOKEN, (_LOW, 24), _SPOKEN, _PAUSE],
        ),
        "a firm frame alone in a pause is not voiced": (
            {},
            20,
            [_QUIET, _SPOKEN, (_LOW, 12), (_FIRM, 1), _PAUSE],
        ),
        "two firm frames in a pause begin the silence anew": (
            {},
            20,
            [_QUIET, _SPOKEN, (_LOW, 12), (_FIRM, 2), _PAUSE],
        ),
        "a voice that fades: 380 ms after its last weak frame": (
            {},
            20,
            [_QUIET, _SPOKEN, (_WEAK, 15), _PAUSE],
        ),
        "a voice that fades at once: 500 ms after its last firm frame": (
            {},
            20,
            [_QUIET, _SPOKEN, (_WEAK, 5), _PAUSE],
        ),
        "six weak frames are the silence that may stand in doubt": (
            {},
            20,
            [_QUIET, _SPOKEN, (_WEAK, 6), _PAUSE],
        ),
        "after seven it is a frame longer": ({}, 20, [_QUIET, _SPOKEN, (_WEAK, 7), _PAUSE]),
        "weak frames in the middle of the silence": (
            {},
            20,
            [_QUIET, _SPOKEN, (_LOW, 12), (_WEAK, 2), _PAUSE],
        ),
        "no voiced frame ends an utterance, not even a weak one": (
            {},
            20,
            [_QUIET, _SPOKEN, (_LOW, 23), (_WEAK, 2), _PAUSE],
        ),
        "a soft voice is not cut in two": ({}, 20, [_QUIET, _SPOKEN, (_WEAK, 400), _PAUSE]),
        "frames of 30 ms: four of them stand in doubt": (
            {},
            30,
            [_QUIET, _SPOKEN, (_WEAK, 15), _PAUSE],
        ),
        "of a short silence one frame is always to come": (
            {"silence_threshold_ms": 100},
            30,
            [_QUIET, _SPOKEN, (_WEAK, 15), _PAUSE],
        ),
        "0.85 is firm for a threshold of 0.5": ({}, 20, [_QUIET, _SPOKEN, (0.85, 15), _PAUSE]),
        "0.849 is not": ({}, 20, [_QUIET, _SPOKEN, (0.849, 15), _PAUSE]),
        "0.83 is firm for a threshold of 0.4": (
            {"threshold": 0.4},
            20,
            [_QUIET, _SPOKEN, (0.83, 15), _PAUSE],
        ),
        "weak frames are voiced: they count for min_speech_ms": (
            {},
            20,
            [_QUIET, (_FIRM, 2), (_WEAK, 11), _PAUSE],
        ),
        "speech without a firm frame": ({}, 20, [_QUIET, (_WEAK, 13), _PAUSE]),
        "its silence counts from the ring that it began with": (
            {},
            20,
            [_QUIET, (_WEAK, 2), _PAUSE],
        ),
        "weak speech in the last frame of the silence begins the next utterance": (
            {},
            20,
            [_QUIET, _SPOKEN, (_LOW, 24), (_WEAK, 13), _PAUSE],
        ),
        "a frame that confirms ends nothing: the next does": (
            {"min_speech_ms": 1000},
            20,
            [
                _QUIET,
                _SPOKEN,
                (_LOW, 20),
                {"min_speech_ms": 400, "silence_threshold_ms": 200},
                _PAUSE,
            ],
        ),
        "the prefix ends where the utterance before ended": (
            {"silence_threshold_ms": 100, "prefix_padding_ms": 500},
            20,
            [_QUIET, _SPOKEN, (_LOW, 7), _SPOKEN, _PAUSE],
        ),
        "the prefix may hold what was discarded": (
            {"silence_threshold_ms": 100, "prefix_padding_ms": 500},
            20,
            [(_LOW, 40), (_FIRM, 2), (_LOW, 7), _SPOKEN, _PAUSE],
        ),
        "30 seconds of speech are cut, the rest is the next utterance": (
            {},
            20,
            [_QUIET, (_FIRM, 1503), _PAUSE],
        ),
        "30 seconds of which the last are weak: the doubt goes on in the next": (
            {},
            20,
            [_QUIET, (_FIRM, 1490), (_WEAK, 10), _PAUSE],
        ),
        "30 seconds that end in a pause: the next begins as any does": (
            {},
            20,
            [_QUIET, (_FIRM, 1490), (_LOW, 12), (_FIRM, 15), _PAUSE],
        ),
        "frames that are missing are silence": (
            {},
            20,
            [_QUIET, _SPOKEN, "gap 15", _SPOKEN, _PAUSE],
        ),
        "a longer gap ends the utterance, where the silence was long enough": (
            {},
            20,
            [_QUIET, _SPOKEN, "gap 300", _SPOKEN, _PAUSE],
        ),
        "a commit in speech, and speech goes on": (
            {},
            20,
            [_QUIET, _SPOKEN, "commit", _SPOKEN, _PAUSE],
        ),
        "a commit in a pause: 200 ms of it belong to the utterance": (
            {},
            20,
            [_QUIET, _SPOKEN, (_LOW, 15), "commit", _PAUSE],
        ),
        "a commit of what was not confirmed, and one in silence": (
            {},
            20,
            [_QUIET, (_FIRM, 4), "commit", (_LOW, 30), "commit"],
        ),
        "without detection a commit ends all since the last": (
            {"enabled": False},
            20,
            ["commit", (_FIRM, 50), (_LOW, 50), "commit", (_LOW, 10), "commit"],
        ),
        "detection is turned off in speech: only a commit ends it": (
            {},
            20,
            [_QUIET, _SPOKEN, {"enabled": False}, (_LOW, 60), "commit", _PAUSE],
        ),
        "detection is turned on: it knows nothing of what was before": (
            {"enabled": False},
            20,
            [(_FIRM, 20), {"enabled": True}, (_LOW, 5), _SPOKEN, _PAUSE],
        ),
        "a longer silence from the next frame on": (
            {},
            20,
            [_QUIET, _SPOKEN, (_LOW, 20), {"silence_threshold_ms": 1000}, _PAUSE],
        ),
        "a shorter silence ends with the next frame": (
            {},
            20,
            [_QUIET, _SPOKEN, (_LOW, 20), {"silence_threshold_ms": 200}, _PAUSE],
        ),
        "a longer silence: what is counted of it stays": (
            {"silence_threshold_ms": 100},
            20,
            [_QUIET, _SPOKEN, (_WEAK, 10), {"silence_threshold_ms": 500}, _PAUSE],
        ),
        "a shorter silence, and a weak frame that puts it off": (
            {},
            20,
            [
                _QUIET,
                _SPOKEN,
                (_LOW, 12),
                (_WEAK, 1),
                {"silence_threshold_ms": 200},
                (_WEAK, 1),
                _PAUSE,
            ],
        ),
        "another threshold, another bar for what is firm": (
            {},
            20,
            [_QUIET, _SPOKEN, (0.83, 5), {"threshold": 0.4}, (0.83, 5), _PAUSE],
        ),
        "a shorter ring keeps its newest frames": (
            {"speech_ratio": 0.8},
            20,
            [_QUIET, (_FIRM, 2), {"ring_buffer_frames": 3, "speech_ratio": 0.6}, _PAUSE],
        ),
    }
)
"""What a case shows → its VAD values that are no defaults, its frames' length, and its steps."""


class Replay:
    """A detector whose windows are frames, and whose probabilities are known."""

    name = "replay"

    def __init__(self, audio: AudioConfig) -> None:
        self.sample_rate_hz = audio.sample_rate
        self.window_samples = audio.samples_per_frame
        self.next: list[float] = []

    def open(self) -> Stream:
        """Return itself: it remembers for one session."""
        return self

    def reset(self) -> None:
        """Forget nothing: what comes is known."""

    def close(self) -> None:
        """Hold nothing."""

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        """Return what is next."""
        assert (len(streams), windows.shape[0]) == (1, 1)
        return np.array([self.next.pop(0)])


def told(
    values: Mapping[str, Any], frame_ms: int, steps: Sequence[Step]
) -> list[tuple[Heard, bytes]]:
    """Return what is heard of a case, and its audio: each sample says how many ms it is of."""
    audio = AudioConfig(frame_duration_ms=frame_ms)
    vad = VADConfig(**values)
    size = audio.samples_per_frame
    detector = Replay(audio)
    ear = AudioBuffer(audio, vad, detector)
    now = 0
    events: list[Heard] = []
    for step in steps:
        match step:
            case "commit":
                events += ear.commit()
            case str():
                now += size * int(step.removeprefix("gap "))
            case Mapping():
                vad = vad.model_copy(update=dict(step))
                ear.switch(vad, now)
            case (probability, count):
                ramp = np.arange(now, now + count * size) // 8
                ear.push(ramp.astype("<i2").tobytes(), now)
                now += count * size
                detector.next += [probability] * count
                events += _judged(ear, detector)
        events += ear.heard()
    return [(event, event.audio if isinstance(event, SpeechEnded) else b"") for event in events]


def _judged(ear: AudioBuffer, detector: Replay) -> list[Heard]:
    found: list[Heard] = []
    while ear.window() is not None:
        found += ear.take(detector.next.pop(0))
    detector.next.clear()  # with detection off nobody asks
    return found


def _written(event: Heard, audio: bytes, prefix_ms: int) -> dict[str, Any]:
    match event:
        case SpeechStarted():
            kind = "started"
        case SpeechConfirmed():
            kind = "confirmed"
        case SpeechEnded(start_ms, end_ms, at_ms, reason):
            row = {"event": "ended", "at_ms": at_ms, "start_ms": start_ms, "end_ms": end_ms}
            row |= {"reason": reason, "discarded": event.discarded}
            if not event.discarded:
                begin = start_ms - prefix_ms
                row["audio_ms"] = [begin, begin + len(audio) // 16]
            return row
    return {
        "event": kind,
        "at_ms": event.at_ms,
        "start_ms": event.start_ms,
        "prefix_ms": event.prefix_ms,
    }


def _case(name: str) -> dict[str, Any]:
    values, frame_ms, steps = CASES[name]
    rows: list[dict[str, Any]] = []
    prefix_ms = 0
    for event, audio in told(values, frame_ms, steps):
        if isinstance(event, SpeechStarted):
            prefix_ms = event.prefix_ms
        rows.append(_written(event, audio, prefix_ms))
    return {
        "name": name,
        "frame_duration_ms": frame_ms,
        "vad": VADConfig(**values).model_dump(mode="json"),
        "steps": [_step(step) for step in steps],
        "events": rows,
    }


def _step(step: Step) -> dict[str, Any]:
    match step:
        case "commit":
            return {"commit": True}
        case str():
            return {"missing_frames": int(step.removeprefix("gap "))}
        case Mapping():
            return {"vad": dict(step)}
    probability, frames = step
    return {"probability": probability, "frames": frames}


def _file() -> bytes:
    """Return the whole file: one line for each step and each event."""
    cases = []
    for name in CASES:
        case = _case(name)
        lines = []
        for key, value in case.items():
            if key in {"steps", "events"}:
                inner = ",\n".join(f"        {json.dumps(one)}" for one in value)
                text = f"[\n{inner}\n      ]" if value else "[]"
            else:
                text = json.dumps(value)
            lines.append(f"      {json.dumps(key)}: {text}")
        cases.append("    {\n" + ",\n".join(lines) + "\n    }")
    fixed = {
        "firmness": _OPTIONS.firmness,
        "doubt_ms": _OPTIONS.doubt_ms,
        "hysteresis": _OPTIONS.hysteresis,
        "max_utterance_ms": _OPTIONS.max_utterance_ms,
        "tail_ms": hearing.TAIL_MS,
        "gap_heard_ms": hearing._GAP_HEARD_MS,
    }
    head = {
        "title": f"ASP {VERSION}, section 13: frames, and what is heard of them",
        "fixed": fixed,
    }
    text = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
    return ("{\n" + text + '  "cases": [\n' + ",\n".join(cases) + "\n  ]\n}\n").encode()


VECTORS: Final[Mapping[str, bytes]] = MappingProxyType(
    {"schemas/vectors/asp_endpointing.json": _file()}
)
"""Path of a file of test vectors → what it says."""
