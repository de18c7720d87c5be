"""The audio of a session, both ways: what goes out here, what comes in ``inbound``."""

from __future__ import annotations

from typing import Final

from palaver.protocols.asp.config import FRAMES_PER_MESSAGE, AudioConfig, Framing
from palaver.protocols.asp.errors import Misuse
from palaver.protocols.asp.frames import (
    AudioFrame,
    FrameFlags,
    FrameKey,
    frame_head,
    frame_key,
    pack,
)
from palaver.protocols.asp.inbound import Inbound
from palaver.protocols.asp.messages import Side

__all__ = ["AudioTrack"]


class AudioTrack:
    """Both directions of one session. Frames are counted in the audio that was agreed on."""

    side: Side

    def __init__(self, session_id: str) -> None:
        self.id: Final = session_id
        self.inbound: Final = Inbound(session_id)
        """The audio of the peer."""
        self.next_seq = 0
        """Number of the audio message that we send next."""
        self.frames_sent = 0
        self.samples_sent = 0
        self.stream = 0
        self.tune(AudioConfig(), 0)

    def tune(self, audio: AudioConfig, stream: int) -> None:
        """Take that audio from the first frame on; ``stream`` is the session's in ``asp16``."""
        self.framing = audio.framing if isinstance(audio.framing, Framing) else Framing.HASH12
        self.stream = stream
        self.key: FrameKey = frame_key(self.framing, self.id, stream)
        peer = Side.CLIENT if self.side is Side.SERVER else Side.SERVER
        self.inbound.tune(audio, frame_head(self.framing, stream, peer))
        # Asked for each frame: a property of the configuration would cost more than the frame.
        self._rate = audio.sample_rate
        self._frame_samples = audio.samples_per_frame
        self._frame_bytes = audio.bytes_per_frame

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
