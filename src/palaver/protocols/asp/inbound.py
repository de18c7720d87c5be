"""The audio of a session that comes: what is numbered, what is counted, what is refused."""

from __future__ import annotations

from struct import Struct
from typing import Final

from palaver.protocols.asp.config import FRAMES_PER_MESSAGE, AudioConfig
from palaver.protocols.asp.errors import ErrorCode, Rejection, protocol_error
from palaver.protocols.asp.events import AudioMissing, AudioReceived, Event
from palaver.protocols.asp.frames import ASP16_SIZE, FLAGS, AudioFrame
from palaver.protocols.asp.outgoing import ACK_INTERVAL

__all__ = ["Inbound"]

_MAX_LOOSE_BYTES: Final = 64 * 1024
"""Audio of one message of a 1.0.0 peer, which does not send whole frames."""
_read: Final = Struct("<IIIBxH").unpack_from  # what ``frame_head`` says, and the rest


class Inbound:
    """What comes of one session. Frames are counted in the audio that was agreed on.

    ``whole_frames`` says that the peer sends 1 to 10 whole frames in a message, as 1.1 demands.
    It has slots, and as little as can be changes with a message: fifty come each second for each
    call, and what a thousand calls touch for one is in no cache.
    """

    __slots__ = (
        "_ahead",
        "_ahead_at",
        "_frame_bytes",
        "_frame_samples",
        "_heard_at",
        "_id",
        "_message_bytes",
        "_missing",
        "_others",
        "_rate",
        "_sample_bytes",
        "_untaken",
        "expected_seq",
        "head",
        "max_ahead",
        "numbered",
        "samples_received",
        "usual",
        "whole_frames",
    )

    def __init__(self, session_id: str, now: float = 0.0) -> None:
        self._id: Final = session_id
        self.whole_frames = False
        self.usual = False
        """Whether nothing but audio is going on: then ``take_next`` may do all there is to do."""
        self.numbered = False
        """Whether the peer is told from time to time how many of its messages came."""
        self.expected_seq = 0
        """Number of the audio message that should come next."""
        self.samples_received = 0
        """Media time of the first sample that should come next."""
        self.max_ahead = float("inf")
        """Audio (s) that may come before its time."""
        self._others = 0  # numbered messages that were no audio, less numbers that were skipped
        self._untaken = 0  # samples of media time that were not handed on
        self._heard_at = now
        self._ahead = 0.0  # samples that came before their time
        self._ahead_at = now
        self._missing = 0  # and not told yet
        self.tune(AudioConfig(), None)

    def tune(self, audio: AudioConfig, head: int | None) -> None:
        """Take that audio from the next message on; ``head`` is what ``frame_head`` says."""
        self.usual = False
        self.head = head
        # Asked for each frame: a property of the configuration would cost more than the frame.
        self._rate = audio.sample_rate
        self._sample_bytes = audio.sample_bytes
        self._frame_samples = audio.samples_per_frame
        self._frame_bytes = audio.bytes_per_frame
        self._message_bytes = ASP16_SIZE + audio.bytes_per_frame

    @property
    def received(self) -> int:
        """Messages that came and are numbered: where they are, texts too."""
        return self.expected_seq + self._others if self.numbered else 0

    @property
    def heard_at(self) -> float:
        """When the peer said anything last."""
        return max(self._heard_at, self._ahead_at)

    @heard_at.setter
    def heard_at(self, now: float) -> None:
        """Note that it says something."""
        self._heard_at = now

    @property
    def frames(self) -> int:
        """Frames of the audio that was handed on, in messages of whatever size."""
        return (self.samples_received - self._untaken) // self._frame_samples

    def count(self, messages: int = 1) -> bool:
        """Count numbered messages; tell whether it is time to say how far we are."""
        self._others += messages
        return self.received % ACK_INTERVAL == 0

    def take_next(self, data: bytes, now: float) -> AudioReceived | None:
        """Take what nearly every ``asp16`` message is: one frame, the next one, in its time.

        ``None``: it may be something else, and nothing was done.
        """
        if not self.usual or len(data) != self._message_bytes:
            return None
        head, seq, samples, flags, generation = _read(data)
        if seq != self.expected_seq or samples != self.samples_received or head != self.head:
            return None
        count = self._frame_samples
        ahead = self._ahead - (now - self._ahead_at) * self._rate
        ahead = ahead + count if ahead > 0.0 else count
        if ahead > self.max_ahead * self._rate:
            return None
        following = seq + 1
        if self.numbered and not (following + self._others) % ACK_INTERVAL:
            return None  # it is time to say how far we are
        self._ahead, self._ahead_at = ahead, now
        self.expected_seq = following
        self.samples_received = samples + count
        return AudioReceived(
            self._id, data[ASP16_SIZE:], seq, samples, FLAGS[flags & 15], generation
        )

    def take(self, frame: AudioFrame) -> list[Event]:
        """Return the audio of a binary message, after what is missing before it.

        Raises:
            Rejection: 2004, its size or its number is wrong.

        """
        size = len(frame.payload)
        seq = self.expected_seq if frame.seq is None else self._unwrapped(frame.seq)
        missing = seq - self.expected_seq
        samples = self._media_time(frame, missing)
        count = size // self._sample_bytes
        # Its number is used up, even where its audio cannot be taken, and so is its time where
        # the next message does not say its own.
        self._others -= missing + 1  # it was counted already
        self.expected_seq = seq + 1
        self._untaken -= self.samples_received
        self.samples_received = samples + (count if frame.samples is None else 0)
        self._untaken += self.samples_received
        self._missing += missing
        self.usual = False  # if it is refused, the next that is not has to tell what is missing
        self._check_size(size)
        self._untaken += samples - self.samples_received
        self.samples_received = samples + count
        missing, self._missing = self._missing, 0
        audio = AudioReceived(self._id, frame.payload, seq, samples, frame.flags, frame.generation)
        return [AudioMissing(self._id, seq, missing), audio] if missing else [audio]

    def drop(self, frame: AudioFrame) -> None:
        """Do not count what was taken: it is thrown away."""
        self._untaken += len(frame.payload) // self._sample_bytes

    def run_ahead(self, frame: AudioFrame, now: float) -> bool:
        """Let audio come before its time; tell whether that is within ``max_ahead``.

        Time in which no audio came is not saved up: after it, no more may come at once.
        """
        ahead = self._ahead - (now - self._ahead_at) * self._rate
        count = len(frame.payload) // self._sample_bytes
        ahead = ahead + count if ahead > 0.0 else count
        if ahead > self.max_ahead * self._rate:
            return False
        self._ahead, self._ahead_at = ahead, now
        return True

    def expect_audio(self) -> None:
        """See whether nothing but audio is going on, where the session has it flow."""
        self.usual = self.head is not None and not self._missing

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
        return Rejection(error, self._id)
