"""The process that speaks with Piper: text comes in, audio goes out, sentence by sentence.

Piper is licensed under the GPL: this program alone loads it, and talks to the server through its
standard input and output. It ends when its input does.

Each request is a line of JSON, and has one reply: a line of JSON, followed by as many bytes of
audio as ``bytes`` says.

==========================================  =======================================
request                                     reply
==========================================  =======================================
(none: at the start)                        ``ready`` with the sample rate, or ``error``
``{"number": 1, "text": "One. Two."}``      ``audio``: the first sentence, or ``end``
``{"number": 1}``                           ``audio``: the next sentence, or ``end``
``{"number": 1, "stop": true}``             ``end``: the rest is not spoken
==========================================  =======================================
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

__all__ = ["encode_reply", "main"]

_INSTALL: Final = "pip install 'palaver[piper]'"


def encode_reply(kind: str, audio: bytes = b"", **more: Any) -> bytes:
    """Return the bytes of a reply."""
    header = {"kind": kind, "bytes": len(audio), **more}
    return json.dumps(header).encode() + b"\n" + audio


def main(arguments: list[str], requests: BinaryIO, replies: BinaryIO) -> None:
    """Speak with the voice in the file that the first argument names, until the input ends.

    The other two are the number of the speaker (or nothing) and how fast to speak (1: as it is).
    """
    file, speaker, speed = arguments
    try:
        library = importlib.import_module("piper")
        voice = library.PiperVoice.load(file)
        config = library.SynthesisConfig(
            speaker_id=int(speaker) if speaker else None, length_scale=1.0 / float(speed)
        )
        ready = encode_reply("ready", rate_hz=int(voice.config.sample_rate))
    except ImportError as error:
        _write(replies, encode_reply("error", text=f"Piper is missing: {_INSTALL} ({error})"))
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the server has to hear of it
        _write(replies, encode_reply("error", text=_line(error)))
        return
    _write(replies, ready)
    spoken: dict[int, Iterator[Any]] = {}
    for line in requests:
        request = json.loads(line)
        number = request["number"]
        try:
            if "text" in request:
                spoken[number] = iter(voice.synthesize(request["text"], config))
            chunk = None if request.get("stop") else next(spoken.get(number, iter(())), None)
            reply = encode_reply("end") if chunk is None else _audio(chunk)
        except Exception as error:  # noqa: BLE001 - one text that fails is no reason to end
            chunk, reply = None, encode_reply("error", text=_line(error))
        if chunk is None:
            spoken.pop(number, None)
        _write(replies, reply)


def _audio(chunk: Any) -> bytes:
    if (chunk.sample_width, chunk.sample_channels) != (2, 1):
        message = f"{chunk.sample_channels} channels of {chunk.sample_width} bytes a sample"
        return encode_reply("error", text=f"the voice speaks in {message}")
    return encode_reply("audio", chunk.audio_int16_bytes)


def _write(replies: BinaryIO, reply: bytes) -> None:
    replies.write(reply)
    replies.flush()


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


if __name__ == "__main__":
    # What libraries print must not stand between the replies.
    kept = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    main(sys.argv[1:], sys.stdin.buffer, kept)
