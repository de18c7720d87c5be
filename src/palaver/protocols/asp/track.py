"""The audio of a session, both ways: what is numbered, what is counted, what is refused."""

from __future__ import annotations

from typing import Final

from palaver.protocols.asp.config import FRAMES_PER_MESSAGE, AudioConfig, Framing
from palaver.protocols.asp.errors import ErrorCode, Misuse, Rejection, protocol_error
from palaver.protocols.asp.events import AudioMissing, AudioReceived, Event
from palaver.protocols.asp.frames import AudioFrame, FrameFlags, FrameKey, frame_key, pack
from palaver.protocols.asp.messages import Side

__all__ = ["AudioTrack"]

_MAX_LOOSE_BYTES: Final = 64 * 1024
"""Audio of one message of a 1.0.0 peer, which does not send whole frames."""


class AudioTrack:
    """Both directions of one session. Frames are counted in the audio that was agreed on.

    ``whole_frames`` says that the peer sends 1 to 10 whole frames in a message, as 1.1 demands.
    """

    side: Side

    def __init__(self, session_id: str) -> None:
        self.id: Final = session_id
        self.whole_frames = False
        self.next_seq = 0
        """Number of the audio message that we send next."""
        self.expected_seq = 0
        """Number of the audio message that should come next."""
        self.frames_sent = 0
        self.samples_sent = 0
        self.samples_received = 0
        self.samples_taken = 0
        """Samples of the audio that was handed on."""
        self._missing = 0  # and not told yet
        self.stream = 0
        self.tune(AudioConfig(), 0)

    def tune(self, audio: AudioConfig, stream: int) -> None:
        """Take that audio from the first frame on; ``stream`` is the session's in ``asp16``."""
        self.framing = audio.framing if isinstance(audio.framing, Framing) else Framing.HASH12
        self.stream = stream
        self.key: FrameKey = frame_key(self.framing, self.id, stream)
        # Asked for each frame: a property of the configuration would cost more than the frame.
        self._rate = audio.sample_rate
        self._sample_bytes = audio.sample_bytes
        self._frame_samples = audio.samples_per_frame
        self._frame_bytes = audio.bytes_per_frame

    @property
    def frames_received(self) -> int:
        """Frames of the audio that was handed on, in messages of whatever size."""
        return self.samples_taken // self._frame_samples

    def samples_of(self, frame: AudioFrame) -> int:
        """Return how many samples the audio of a message has."""
        return len(frame.payload) // self._sample_bytes

    def pack_audio(self, payload: bytes, flags: FrameFlags, generation: int) -> bytes:
        """Return the binary message of whole frames, and count it.

        Raises:
            Misuse: it is not 1 to 10 whole frames.

        """
        size = self._frame_bytes
        frames, rest = divmod(len(payload), size)
        if rest or not 1 <= frames <= FRAMES_PER_MESSAGE:
            raise Misuse(
                f"{len(payload)} bytes are not 1 to {FRAMES_PER_MESSAGE} frames of {size} bytes"
            )
        data = pack(
            AudioFrame(
                self.framing,
                self.key,
                payload,
                self.next_seq,
                self.samples_sent * 1_000_000 // self._rate,
                self.samples_sent,
                flags,
                generation,
            ),
            self.side,
        )
        self.next_seq += 1
        self.frames_sent += frames
        self.samples_sent += frames * self._frame_samples
        return data

    def take_audio(self, frame: AudioFrame) -> list[Event]:
        """Return the audio of a binary message, after what is missing before it.

        Raises:
            Rejection: 2004, its size or its number is wrong.

        """
        size = len(frame.payload)
        if (
            frame.seq == self.expected_seq
            and frame.samples == self.samples_received
            and size == self._frame_bytes
            and not self._missing
        ):  # what nearly every message is: one frame, the next one, in its time
            seq, samples, count = self.expected_seq, self.samples_received, self._frame_samples
            self.expected_seq = seq + 1
            self.samples_received = samples + count
            self.samples_taken += count
            return [
                AudioReceived(self.id, frame.payload, seq, samples, frame.flags, frame.generation)
            ]
        seq = self.expected_seq if frame.seq is None else self._unwrapped(frame.seq)
        missing = seq - self.expected_seq
        samples = self._media_time(frame, missing)
        count = self.samples_of(frame)
        # Its number is used up, even where its audio cannot be taken, and so is its time where
        # the next message does not say its own.
        self.expected_seq = seq + 1
        self.samples_received = samples + (count if frame.samples is None else 0)
        self._missing += missing
        self._check_size(size)
        self.samples_received = samples + count
        self.samples_taken += count
        missing, self._missing = self._missing, 0
        audio = AudioReceived(self.id, frame.payload, seq, samples, frame.flags, frame.generation)
        return [AudioMissing(self.id, seq, missing), audio] if missing else [audio]

    def drop_audio(self, frame: AudioFrame) -> None:
        """Do not count what was taken: it is thrown away."""
        self.samples_taken -= self.samples_of(frame)

    def _media_time(self, frame: AudioFrame, missing: int) -> int:
        """Return the media time (samples) at which a message begins."""
        if frame.samples is not None:
            stamped = frame.samples
        elif frame.time_us is not None and missing:
            stamped = -(-frame.time_us * self._rate // 1_000_000)
        else:
            return self.samples_received + missing * self._frame_samples
        ahead = (stamped - self.samples_received) & 0xFFFF_FFFF
        # Media time that runs backwards is the peer's mistake; its audio is still in order.
        return self.samples_received + (ahead if ahead < 0x8000_0000 else 0)

    def _unwrapped(self, seq: int) -> int:
        """Return the number of a message from its low 32 bits.

        Raises:
            Rejection: 2004, it has come already.

        """
        ahead = (seq - self.expected_seq) & 0xFFFF_FFFF
        if ahead >= 0x8000_0000:
            raise self._refused(
                f"audio message {seq} came after {self.expected_seq - 1}",
                expected=self.expected_seq,
            )
        return self.expected_seq + ahead

    def _check_size(self, size: int) -> None:
        if not self.whole_frames:
            # 1.0.0 says nothing of it, and its peers send 100 or 125 ms whatever was agreed.
            if not 0 < size <= _MAX_LOOSE_BYTES or size % self._sample_bytes:
                raise self._refused(
                    f"{size} bytes of audio are not whole samples of {self._sample_bytes} bytes, "
                    f"at most {_MAX_LOOSE_BYTES} bytes"
                )
            return
        frames, rest = divmod(size, self._frame_bytes)
        if rest or not 1 <= frames <= FRAMES_PER_MESSAGE:
            raise self._refused(
                f"{size} bytes of audio are not 1 to {FRAMES_PER_MESSAGE} frames of "
                f"{self._frame_bytes} bytes",
                bytes_per_frame=self._frame_bytes,
            )

    def _refused(self, message: str, **details: int) -> Rejection:
        error = protocol_error(ErrorCode.AUDIO_PROCESSING_ERROR, message, **details)
        return Rejection(error, self.id)
