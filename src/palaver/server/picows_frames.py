"""What RFC 6455 leaves to whoever uses picows: fragments that make a message, and signs of life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from picows import WSCloseCode, WSFrame, WSMsgType

from palaver.server.websocket_inbox import Message

__all__ = ["BadFrame", "Fragments", "Keepalive"]


class BadFrame(Exception):
    """A frame that ends the WebSocket, with ``code`` and ``reason``."""

    def __init__(self, code: WSCloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Fragments:
    """Makes messages of ``max_bytes`` at most from frames of text and binary data."""

    __slots__ = ("_kind", "_max_bytes", "_partial", "open", "size")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        # In a list, each of a million empty fragments would take its room.
        self._partial = bytearray()
        self._kind: WSMsgType | None = None
        self.open = False
        """Whether more of a message is to come."""
        self.size = 0
        """Bytes of the message that was made last."""

    def join(self, frame: WSFrame, kind: WSMsgType) -> Message | None:
        """Take a frame; return the message that ends with it, or None (RFC 6455 5.4).

        Raises:
            BadFrame: it belongs to no message, or makes one too large; the text is no UTF-8.

        """
        goes_on = kind is WSMsgType.CONTINUATION
        if goes_on is not self.open:
            raise BadFrame(WSCloseCode.PROTOCOL_ERROR, "a fragment belongs to no message")
        self.size = len(self._partial) + frame.payload_size
        if self.size > self._max_bytes:
            reason = f"a message has more than {self._max_bytes} bytes"
            raise BadFrame(WSCloseCode.MESSAGE_TOO_BIG, reason)
        if not goes_on and frame.fin:
            return _read(frame.get_payload_as_bytes(), kind)
        if not goes_on:
            self._kind, self.open = kind, True
        self._partial += frame.get_payload_as_memoryview()
        if not frame.fin or self._kind is None:
            return None
        whole, kind = bytes(self._partial), self._kind
        self.clear()
        return _read(whole, kind)

    def clear(self) -> None:
        """Forget what has come of a message."""
        self._partial.clear()
        self._kind, self.open = None, False


def _read(whole: bytes, kind: WSMsgType) -> Message:
    if kind is WSMsgType.BINARY:
        return whole
    try:
        return whole.decode()
    except UnicodeDecodeError:
        raise BadFrame(WSCloseCode.INVALID_TEXT, "a text is no UTF-8") from None


class Keepalive:
    """Asks for a sign of life each ``interval`` s, and tells where none comes for ``timeout`` s.

    ``miss`` gets the timeout, and returns whether that was the end.
    """

    __slots__ = ("_ask", "_interval", "_miss", "_timeout", "_timer")

    def __init__(
        self,
        ask: Callable[[], None],
        miss: Callable[[float], bool],
        *,
        interval: float,
        timeout: float,
    ) -> None:
        self._ask = ask
        self._miss = miss
        self._interval = interval
        self._timeout = timeout
        self._timer: asyncio.TimerHandle | None = None

    def wait(self) -> None:
        """Ask no sooner than in an interval: now there was a sign, or it begins."""
        self._set(self._interval, self._due)

    def stop(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, seconds: float, call: Callable[[], None]) -> None:
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(seconds, call)

    def _due(self) -> None:
        self._set(self._timeout, self._missed)
        self._ask()

    def _missed(self) -> None:
        if not self._miss(self._timeout):
            self._set(self._timeout, self._missed)
