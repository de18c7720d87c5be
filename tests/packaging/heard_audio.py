"""A program: says all that is heard in one recording, at every rate, encoding and frame size."""

from __future__ import annotations

import sys
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from palaver.media.wave_file import read_wave
from palaver.protocols.asp.config import AudioConfig, AudioEncoding, VADConfig
from palaver.speech.audio import encode
from palaver.speech.hearing import StreamingVAD, detector_rate_hz
from palaver.speech.resample import resample
from palaver.speech.silero import SileroDetector


def hear(recording: Path) -> None:
    """Print each event: its media times, and a digest of the audio of what was said."""
    recorded = read_wave(recording)
    vad = VADConfig(silence_threshold_ms=100, min_speech_ms=100)
    detectors = {rate_hz: SileroDetector(rate_hz) for rate_hz in (8_000, 16_000)}
    for rate_hz in (8_000, 16_000, 24_000):
        samples = resample(recorded.samples, recorded.rate_hz, rate_hz)
        for encoding in AudioEncoding:
            for frame_ms in (10, 20, 30):
                audio = AudioConfig(
                    sample_rate=rate_hz, encoding=encoding, frame_duration_ms=frame_ms
                )
                if audio.validate():
                    continue
                detector = detectors[detector_rate_hz(audio)]
                ear = StreamingVAD(audio, vad, detector, keep_audio=True)
                payload, size = encode(samples, encoding), audio.bytes_per_frame
                heard = []
                for first in range(0, len(payload) - size + 1, size):
                    heard += ear.process(payload[first : first + size])
                heard += ear.commit()
                for event in heard:
                    said = asdict(event)
                    if "audio" in said:
                        said["audio"] = sha256(said["audio"]).hexdigest()
                    sys.stdout.write(f"{rate_hz} {encoding} {frame_ms} {type(event)} {said}\n")


if __name__ == "__main__":
    hear(Path(sys.argv[1]))
