"""What a client has sent through its WebSocket, and the application has not taken yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias, cast

from uvicorn._types import ASGIReceiveEvent, WebSocketDisconnectEvent
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.server import ServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # where the wheel has no compiled code
    from websockets.utils import apply_mask

__all__ = ["Inbox", "Message", "Unread"]

Message: TypeAlias = bytes | str

_MAX_WAITING_BYTES: Final = 64 * 1024
_MAX_WAITING: Final = 256
"""So many bytes, or so many messages, wait for the application; then no more are read."""
_TURN: Final = 256
"""So many frames of one client are read before others have their turn."""

_TEXT: Final = 0x80 | Opcode.TEXT  # with the bit that says: the message ends here
_BINARY: Final = 0x80 | Opcode.BINARY
_PLAIN: Final = frozenset({_TEXT, _BINARY})
_OPCODES: Final = frozenset(Opcode)
_MASKED: Final = 0x80
_CONTROL: Final = 0x08
_MAX_CONTROL: Final = 125


class Inbox:
    """What waits for the application; in the place of uvicorn's queue, which knows no bound."""

    __slots__ = ("_end", "_size", "_waiter", "_waiting", "has_news", "on_empty")

    def __init__(self) -> None:
        self._waiting: deque[Message | ASGIReceiveEvent] = deque()
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._end: WebSocketDisconnectEvent | None = None
        self.has_news = False  # since whoever tells of messages last reset it
        self.on_empty: Callable[[], None] | None = None

    @property
    def full(self) -> bool:
        """Whether no more should come."""
        return (self._size >= _MAX_WAITING_BYTES or len(self._waiting) >= _MAX_WAITING) and (
            self._end is None
        )

    @property
    def has_messages(self) -> bool:
        """Whether there is a message to take."""
        return bool(self._waiting) and isinstance(self._waiting[0], bytes | str)

    def add(self, message: Message, size: int) -> None:
        """Let a message wait, unless the end was put before; ``wake`` is up to the caller."""
        if self._end is None:
            self._size += size
            self._waiting.append(message)
            self.has_news = True

    def put_nowait(self, event: ASGIReceiveEvent) -> None:
        """Let an event wait, unless the end was put before."""
        if self._end is not None:
            return
        if event["type"] == "websocket.disconnect":
            self._end = event
        self._waiting.append(event)
        self.wake()

    def wake(self) -> None:
        """Tell whoever waits, if there is something."""
        if self._waiting and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> ASGIReceiveEvent:
        """Return the next event; the end again and again."""
        while not self._waiting:
            if self._end is not None:
                return self._end
            if self._waiter is not None:
                message = "two tasks cannot receive from one WebSocket"
                raise RuntimeError(message)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._waiting.popleft()
        if not self._waiting:
            self._emptied()
        if isinstance(item, bytes):
            return {"type": "websocket.receive", "bytes": item}
        if isinstance(item, str):
            return {"type": "websocket.receive", "text": item}
        return item

    def take(self) -> list[Message]:
        """Return the messages that stand before any other event."""
        taken: list[Message] = []
        while self.has_messages:
            taken.append(cast("Message", self._waiting.popleft()))
        if not self._waiting:
            self._emptied()
        return taken

    def _emptied(self) -> None:
        self._size = 0
        if self.on_empty is not None:
            self.on_empty()


class Unread:
    """Bytes that came: plain messages are read here, other frames are for websockets to judge."""

    __slots__ = ("_conn", "_data", "_inbox", "_max", "_on_control", "_partial", "_text")

    def __init__(
        self,
        conn: ServerProtocol,
        inbox: Inbox,
        max_message_bytes: int,
        on_control: Callable[[Frame], None],
    ) -> None:
        self._conn = conn
        self._inbox = inbox
        self._max = max_message_bytes
        self._on_control = on_control
        self._data = bytearray()
        # A message in fragments. In a list, each of a million empty ones would take its room.
        self._partial = bytearray()
        self._text = False

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._data += data

    def clear(self) -> None:
        """Forget all."""
        self._data.clear()
        self._partial.clear()

    def read(self) -> bool:
        """Put messages into the inbox; return whether there may be more in what has come.

        It stops where the inbox is full, and where others must have their turn. What the client
        does wrong is told by ``conn.parser_exc``.
        """
        data, conn, inbox, limit = self._data, self._conn, self._inbox, self._max
        end, at, more = len(data), 0, True
        for _ in range(_TURN):
            if inbox.full:
                break
            if end - at < 2:
                more = False
                break
            first, second = data[at], data[at + 1]
            # RFC 6455 5.2: the length in 7 bits, or in the next 2 or 8 bytes; then the mask.
            length, body = second & 0x7F, at + 6
            if length == 126:
                length, body = int.from_bytes(data[at + 2 : at + 4]), at + 8
            elif length == 127:
                length, body = int.from_bytes(data[at + 2 : at + 10]), at + 14
            plain = first in _PLAIN and second & _MASKED and conn.current_size is None
            stop = body + length
            if not (plain and length <= limit) and self._is_illegal(first, second, length):
                at, more = end, False
                break
            if stop > end:
                more = False
                break
            if plain:
                payload = apply_mask(data[body:stop], data[body - 4 : body])
                at = stop
                if first == _BINARY:
                    inbox.add(payload, length)
                    continue
                self._add(payload, text=True)
            else:
                self._judge(data[at:stop])
                at = stop
            if conn.parser_exc is not None or conn.close_rcvd is not None:
                at, more = end, False  # RFC 6455 1.4: what comes behind is of no interest
                break
        del data[:at]
        return more

    def _is_illegal(self, first: int, second: int, length: int) -> bool:
        """Fail the WebSocket over the head of a frame, before its payload is waited for."""
        if not second & _MASKED:
            self._fail(CloseCode.PROTOCOL_ERROR, "a frame is not masked")  # RFC 6455 5.1
        elif first & 0x0F not in _OPCODES:
            self._fail(CloseCode.PROTOCOL_ERROR, "an opcode means nothing")  # RFC 6455 5.2
        elif first & _CONTROL and length > _MAX_CONTROL:
            self._fail(CloseCode.PROTOCOL_ERROR, "a control frame is too long")  # RFC 6455 5.5
        elif length > self._max - (self._conn.current_size or 0):
            self._fail(CloseCode.MESSAGE_TOO_BIG, f"a message has more than {self._max} bytes")
        return self._conn.parser_exc is not None

    def _judge(self, data: bytearray) -> None:
        self._conn.receive_data(data)
        for frame in cast("list[Frame]", self._conn.events_received()):
            if frame.opcode & _CONTROL:
                self._on_control(frame)
                continue
            if frame.opcode is not Opcode.CONT:
                self._text = frame.opcode is Opcode.TEXT
            self._partial += frame.data
            if frame.fin:
                self._add(bytes(self._partial), text=self._text)
                self._partial = bytearray()

    def _add(self, payload: bytes, *, text: bool) -> None:
        try:
            self._inbox.add(payload.decode() if text else payload, len(payload))
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "a text is not UTF-8")  # RFC 6455 8.1

    def _fail(self, code: CloseCode, reason: str) -> None:
        self._conn.fail(code, reason)
        self._conn.parser_exc = ProtocolError(reason)
