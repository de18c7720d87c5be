"""Fuzz the binary messages of ASP, in all framings and from both sides.

With atheris installed: ``python fuzz/asp_frames.py [libFuzzer options]``. Without it, or with
``--runs N``: that many random messages, mutated from good ones.
"""

from __future__ import annotations

import sys
from itertools import product

import target

from palaver.protocols.asp.config import Framing
from palaver.protocols.asp.errors import ErrorCode, Rejection
from palaver.protocols.asp.frames import AudioFrame, FrameFlags, frame_key, pack, unpack
from palaver.protocols.asp.messages import Side

SEEDS = [
    pack(
        AudioFrame(
            framing,
            frame_key(framing, "s", 7),
            bytes(range(40)),
            seq=3,
            time_us=60_000,
            samples=480,
            flags=FrameFlags.FINAL,
            generation=2,
        ),
        sender,
    )
    for framing, sender in product(Framing, Side)
]


def check(data: bytes) -> None:
    """Hold that a binary message is a frame that can be packed again, or 2004."""
    for sender, numbered in product(Side, (False, True)):
        try:
            frame = unpack(data, sender, numbered=numbered)
        except Rejection as rejection:
            _refused(rejection)
            continue
        assert data.endswith(frame.payload)
        again = pack(frame, sender)
        assert len(again) == len(data)
        assert unpack(again, sender, numbered=numbered) == frame


def _refused(rejection: Rejection) -> None:
    assert rejection.error.code == ErrorCode.AUDIO_PROCESSING_ERROR


if __name__ == "__main__":
    sys.exit(target.run(check, SEEDS))
