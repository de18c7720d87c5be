"""What Palaver asks of speech and language engines. Audio is mono PCM, int16, little endian."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["ChatMessage", "ChatModel", "SpeechToText", "TextToSpeech", "Transcript"]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said. An empty ``text`` means that it was heard, but not understood.

    ``language`` is a BCP 47 tag, where the engine knows it; ``confidence`` is 0 to 1.
    """

    text: str
    language: str | None = None
    confidence: float = 1.0

    @property
    def understood(self) -> bool:
        """Whether there is anything to answer."""
        return bool(self.text.strip())


class SpeechToText(Protocol):
    """Hears. One object serves all calls; cancelling a call of it stops that work."""

    @property
    def sample_rate_hz(self) -> int:
        """The rate at which it wants its audio."""
        ...

    async def open(self) -> None:
        """Make ready; ``transcribe`` before that is done waits for it.

        Raises:
            ProviderError: it cannot work, and why.

        """
        ...

    async def transcribe(self, audio: bytes, *, language: str | None = None) -> Transcript:
        """Return what was said in one utterance.

        ``language`` is what the caller is expected to speak; ``None``: find out.

        Raises:
            ProviderError: it failed, was refused, or took too long.

        """
        ...

    async def close(self) -> None:
        """Let go of processes and connections."""
        ...


class TextToSpeech(Protocol):
    """Speaks. One object serves all calls; closing the stream stops that work."""

    @property
    def sample_rate_hz(self) -> int:
        """The rate at which its audio comes."""
        ...

    async def open(self) -> None:
        """Make ready.

        Raises:
            ProviderError: it cannot work, and why.

        """
        ...

    def speak(self, text: str, *, language: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the speech of ``text``, whole samples, as it is made.

        Raises:
            ProviderError: it failed, was refused, or took too long; what came before is sound.

        """
        ...

    async def close(self) -> None:
        """Let go of processes and connections."""
        ...


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One thing said in a conversation with a language model."""

    role: Literal["system", "user", "assistant"]
    text: str


class ChatModel(Protocol):
    """Writes. Closing the stream stops it."""

    def stream(self, messages: Sequence[ChatMessage]) -> AsyncGenerator[str, None]:
        """Yield the answer to ``messages`` piece by piece.

        Raises:
            ProviderError: it failed, was refused, or took too long.

        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
