"""The process that speaks with espeak-ng: ``python -m palaver.providers.espeak_worker``.

espeak-ng is GPL-3 and written in C. It is loaded here and never into the server, whose licence
and calls stay its own. The two talk in frames over this process's standard input and output; the
process ends when its input does.

A frame is the length of its header and of its payload (two 32-bit integers, little endian), the
header (a JSON object) and the payload. In: ``speak`` (``id``, ``voice``, ``rate``, ``pitch``;
payload: text, UTF-8) and ``cancel`` (``id``). Out: once ``ready`` (``sample_rate_hz``, ``voices``:
names by language) or ``unusable`` (``text``); then for each ``speak`` some ``audio`` (payload: PCM)
and one ``done`` or ``error`` (``text``).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import queue
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, Protocol, TypeAlias

__all__ = ["HEAD", "SAMPLE_RATE_HZ", "encode_frame", "main"]

HEAD: Final = struct.Struct("<II")
SAMPLE_RATE_HZ: Final = 22_050

_CHUNK_MS: Final = 100
_MISSING: Final = "install palaver[espeak] or espeak-ng"

# From the interface of the library, espeak-ng/speak_lib.h.
_SYNCHRONOUS: Final = 2
_DO_NOT_EXIT: Final = 0x8000
_UTF_8: Final = 1  # and no other flag: neither SSML nor [[phonemes]] are looked for
_RATE: Final = 1
_PITCH: Final = 3
_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)

Header: TypeAlias = dict[str, Any]
Emit: TypeAlias = Callable[[bytes], bool]
"""Takes PCM; returns whether there should be more."""


def encode_frame(header: Header, payload: bytes = b"") -> bytes:
    """Return one frame."""
    head = json.dumps(header).encode()
    return HEAD.pack(len(head), len(payload)) + head + payload


class Engine(Protocol):
    """espeak-ng, in whatever form it is installed."""

    voices: dict[str, str]

    def speak(self, text: bytes, wanted: Header, emit: Emit) -> None:
        """Give the speech of ``text`` to ``emit`` as it is made.

        Raises:
            ValueError: it cannot speak so.

        """
        ...


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
    )


class Library:
    """The shared library."""

    def __init__(self, path: str, data: str | None) -> None:
        """Load it; ``data`` is its folder of voices, where it does not know by itself.

        Raises:
            OSError: it cannot be loaded, or does not find its voices.

        """
        self._library = ctypes.CDLL(path)
        folder = None if data is None else os.fsencode(data)
        rate = self._library.espeak_Initialize(_SYNCHRONOUS, _CHUNK_MS, folder, _DO_NOT_EXIT)
        if rate != SAMPLE_RATE_HZ:
            message = f"espeak_Initialize returned {rate}, not {SAMPLE_RATE_HZ}"
            raise OSError(message)
        self._emit: Emit = bool
        self._callback = _Callback(self._take)  # kept: the library holds no reference
        self._library.espeak_SetSynthCallback(self._callback)
        self.voices = dict(self._list_voices())

    def speak(self, text: bytes, wanted: Header, emit: Emit) -> None:
        """Give the speech of ``text`` to ``emit`` as it is made."""
        if self._library.espeak_SetVoiceByName(wanted["voice"].encode()) != 0:
            message = f"espeak-ng has no voice {wanted['voice']!r}"
            raise ValueError(message)
        self._library.espeak_SetParameter(_RATE, wanted["rate"], 0)
        self._library.espeak_SetParameter(_PITCH, wanted["pitch"], 0)
        self._emit = emit
        size = ctypes.c_size_t(len(text) + 1)  # the closing zero counts
        failed = self._library.espeak_Synth(text, size, 0, 1, 0, _UTF_8, None, None)
        if failed:
            message = f"espeak_Synth returned {failed}"
            raise ValueError(message)

    def _take(self, samples: Any, count: int, _events: object) -> int:
        if not samples or count <= 0:
            return 0
        return 0 if self._emit(ctypes.string_at(samples, 2 * count)) else 1

    def _list_voices(self) -> Iterator[tuple[str, str]]:
        self._library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        listed = self._library.espeak_ListVoices(None)
        index = 0
        while listed[index]:
            voice = listed[index].contents
            index += 1
            # Each language is a byte of priority and a name that ends with a zero.
            at = voice.languages
            while at and ctypes.string_at(at, 1) != b"\0":
                name = ctypes.string_at(at + 1)
                yield name.decode().lower(), voice.identifier.decode()
                at += len(name) + 2


class Program:
    """The command, where there is no shared library that could be loaded."""

    def __init__(self, path: str) -> None:
        self._path = path
        listed = subprocess.run([path, "--voices"], capture_output=True, check=True, text=True)  # noqa: S603
        rows = (line.split() for line in listed.stdout.splitlines()[1:])
        self.voices = {row[1].lower(): row[1] for row in rows if len(row) > 2}

    def speak(self, text: bytes, wanted: Header, emit: Emit) -> None:
        """Give the speech of ``text`` to ``emit`` as it is made."""
        options = ["-v", wanted["voice"], "-s", str(wanted["rate"]), "-p", str(wanted["pitch"])]
        command = [self._path, *options, "-b", "1", "--stdin", "--stdout"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdin is not None  # noqa: S101 - both are pipes, as asked
            assert process.stdout is not None  # noqa: S101
            process.stdin.write(text.replace(b"[[", b"[ ["))  # the command looks for phonemes
            process.stdin.close()
            process.stdout.read(44)  # the header of a WAV file
            while chunk := process.stdout.read(2 * SAMPLE_RATE_HZ * _CHUNK_MS // 1_000):
                if not emit(chunk[: len(chunk) & ~1]):
                    process.kill()
                    return
        if process.returncode != 0:
            message = f"{self._path} ended with {process.returncode}"
            raise ValueError(message)


def open_engine() -> Engine:
    """Return espeak-ng from the index, else the system's library, else the system's command.

    Raises:
        OSError: there is none.

    """
    try:
        import espeakng_loader  # noqa: PLC0415 - an optional extra
    except ImportError:
        pass
    else:
        return Library(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
    found = ctypes.util.find_library("espeak-ng")
    if found is not None:
        return Library(found, None)
    program = shutil.which("espeak-ng")
    if program is not None:
        return Program(program)
    raise OSError(_MISSING)


class Worker:
    """Speaks one text after the other; a thread reads what is asked meanwhile."""

    def __init__(self, engine: Engine, source: BinaryIO, sink: BinaryIO) -> None:
        self._engine = engine
        self._source = source
        self._sink = sink
        self._asked: queue.SimpleQueue[tuple[Header, bytes]] = queue.SimpleQueue()
        self._cancelled = -1

    def run(self) -> None:
        """Serve; never returns, the process ends with its input."""
        self.send(
            {"kind": "ready", "sample_rate_hz": SAMPLE_RATE_HZ, "voices": self._engine.voices}
        )
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            header, text = self._asked.get()
            self._speak(header, text)

    def send(self, header: Header, payload: bytes = b"") -> None:
        """Write a frame."""
        self._sink.write(encode_frame(header, payload))
        self._sink.flush()

    def _speak(self, header: Header, text: bytes) -> None:
        number = header["id"]

        def emit(pcm: bytes) -> bool:
            if self._cancelled == number:
                return False
            self.send({"kind": "audio", "id": number}, pcm)
            return True

        try:
            if self._cancelled != number:
                self._engine.speak(text, header, emit)
        except (ValueError, OSError) as error:
            self.send({"kind": "error", "id": number, "text": str(error)})
        else:
            self.send({"kind": "done", "id": number})

    def _read(self) -> None:
        while len(head := self._source.read(HEAD.size)) == HEAD.size:
            header_size, payload_size = HEAD.unpack(head)
            header = json.loads(self._source.read(header_size))
            payload = self._source.read(payload_size)
            if header["kind"] == "cancel":
                self._cancelled = header["id"]
            else:
                self._asked.put((header, payload))
        os._exit(0)  # whatever the library is doing: nobody is left to hear it


def main() -> int:
    """Run the worker on standard input and output; return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends our input
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no frame
    try:
        engine = open_engine()
    except (OSError, subprocess.SubprocessError) as error:
        sink.write(encode_frame({"kind": "unusable", "text": str(error)}))
        sink.flush()
        return 1
    Worker(engine, sys.stdin.buffer, sink).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
