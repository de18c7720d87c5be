"""One WebSocket to an ASP server: the core of a connection with a socket around it.

One task reads, one writes, a timer watches the clock. Nothing here knows of calls:
what has happened goes to ``take``, and the end of the socket to ``lost``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from websockets.asyncio.client import ClientConnection as WebSocket
from websockets.exceptions import ConnectionClosed

from palaver.client.asp_log import log_message
from palaver.client.transport import Patience
from palaver.engine.clock import wall_clock
from palaver.errors import PeerRefused
from palaver.protocols.asp.client import ClientConnection
from palaver.protocols.asp.errors import (
    ErrorCode,
    ProtocolError,
    Rejection,
    close_code,
    protocol_error,
)
from palaver.protocols.asp.events import AudioReceived, Close, Event, HandshakeFailed, Output
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import ProtocolCapabilitiesMessage
from palaver.protocols.asp.session import Configure
from palaver.protocols.asp.states import LinkState
from palaver.protocols.asp.text_frames import read_object

__all__ = ["AspRefused", "AspSocket", "Observe", "Observed", "Time"]

_MAX_BACKLOG: Final = 64 * 1024
"""Bytes that wait to be sent before whoever sends more has to wait, too."""
_CLOSE_TIMEOUT: Final = 2.0
_ERRORS: Final = {close_code(code): code for code in ErrorCode}


class AspRefused(PeerRefused):
    """The server refused, with ``errors`` of the protocol; the first one gives ``code``."""

    def __init__(self, errors: tuple[ProtocolError, ...]) -> None:
        super().__init__(errors[0].code, "; ".join(error.message for error in errors))
        self.errors = errors


class Time:
    """The time that all sockets of a client share: it never runs backwards."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._offset = wall_clock() - self._loop.time()

    def now(self) -> float:
        """Return seconds since some moment."""
        return self._loop.time()

    def stamp(self, now: float) -> str:
        """Return a time of ``now`` as ``timestamp`` spells it."""
        moment = datetime.fromtimestamp(now + self._offset, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@dataclass(frozen=True, slots=True)
class Observed:
    """What could be seen at the socket, and when; ``data`` is a message that went over it."""

    at: float
    what: Literal["connected", "sent", "received", "closed"]
    data: str | bytes | None = None


Observe = Callable[[Observed], None]


class AspSocket:
    """A WebSocket that is open, and what is spoken on it.

    ``take`` is told what has happened, in order; it returns an event to wait for before more is
    read, where whoever gets the messages has no room for them. ``lost`` is told the end, once.
    With ``speak_legacy`` the server's capabilities are not heard.
    """

    def __init__(
        self,
        websocket: WebSocket,
        time: Time,
        limits: Limits,
        patience: Patience,
        *,
        configure: Configure,
        assume_legacy: bool,
        speak_legacy: bool,
        observe: Observe,
    ) -> None:
        self._websocket = websocket
        self._time = time
        self._silence_timeout = patience.silence_timeout
        self._speak_legacy = speak_legacy
        self._observe = observe
        self.retired = False
        """Whether no more sessions are to be started here."""
        self.opened = asyncio.Event()
        """Set when the capabilities are there, or will not come, or the socket is gone."""
        self.refusal: ProtocolError | None = None
        """What the server says that is wrong, or is wrong with it, where that ends the socket."""
        self.loss: str | None = None
        """Why the socket is gone, if it is."""
        self._pending: deque[Output] = deque()
        self._backlog = 0
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._writing_since: float | None = None
        self._stalled = False
        self._closing: Close | None = None
        now = time.now()
        self._heard_at = now
        self._pinged_at = now
        self.connection = ClientConnection(
            now,
            limits,
            stamp=time.stamp,
            subprotocol=websocket.subprotocol is not None,
            assume_legacy=(assume_legacy or speak_legacy) and websocket.subprotocol is None,
            configure=configure,
            on_output=self._wake.set,
        )
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._pinging: asyncio.Task[None] | None = None
        self._silence: str | None = None
        self._given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(
        self,
        take: Callable[[AspSocket, list[Event]], asyncio.Event | None],
        lost: Callable[[AspSocket], None],
    ) -> None:
        """Begin to read."""
        self._take = take
        self._lost = lost
        now = self._time.now()
        self._observe(Observed(now, "connected"))
        self._step(self.connection.handle_timeout(now))  # a server that is known to be legacy
        self._task = asyncio.create_task(self._run(), name="asp-socket")
        self.expect()

    @property
    def usable(self) -> bool:
        """Whether more sessions can be started here."""
        gone = self.loss is not None or self.connection.closing is not None
        return not (gone or self.retired or self._stalled)

    @property
    def full(self) -> bool:
        """Whether so much waits to be sent that whoever has more should wait."""
        self._collect()
        return self._backlog > _MAX_BACKLOG and self.loss is None

    async def progress(self) -> None:
        """Wait until something was sent, a message has come, or the socket is gone."""
        self._progress.clear()
        await self._progress.wait()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what waits, close the socket, and wait until it is gone: seconds at most."""
        self.connection.put(Close(code, reason))
        if self._task is None:
            return
        done, _ = await asyncio.wait({self._task}, timeout=_CLOSE_TIMEOUT)
        if not done:
            self._websocket.transport.abort()
            await asyncio.wait({self._task})
        self._task.result()

    # --- the tasks --------------------------------------------------------------------------

    async def _run(self) -> None:
        tasks = [
            asyncio.create_task(self._read(), name="asp-socket-reads"),
            asyncio.create_task(self._write(), name="asp-socket-writes"),
        ]
        try:
            await asyncio.wait([*tasks, self._given_up], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            await self._shut()
            self._end()
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, ConnectionClosed):
                raise end

    async def _read(self) -> None:
        while True:
            data = await self._websocket.recv()
            now = self._heard_at = self._time.now()
            self._observe(Observed(now, "received", data))
            log_message("asp_received", data)
            if isinstance(data, bytes):
                events = self.connection.receive_bytes(data, now)
            elif self._speak_legacy and _shows_capabilities(data):
                events = []
            else:
                events = self.connection.receive_text(data, now)
            room = self._step(events)
            self._progress.set()
            if room is not None and not room.is_set():
                self._stalled = True
                await room.wait()
                self._stalled = False
                self._heard_at = self._time.now()
            while self.full:  # what a peer makes us answer must not pile up
                await self.progress()

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._collect()
                while self._pending:
                    output = self._pending[0]
                    if isinstance(output, Close):
                        self._closing = output
                        return
                    self._writing_since = self._time.now()
                    await self._websocket.send(output)
                    self._writing_since = None
                    self._pending.popleft()
                    self._backlog -= len(output)
                    self._observe(Observed(self._time.now(), "sent", output))
                    log_message("asp_sent", output)
                    self._progress.set()
        except ConnectionClosed:
            self._writing_since = None
            # The end is told by whoever reads, behind what came before it.
            await asyncio.get_running_loop().create_future()

    # --- the clock --------------------------------------------------------------------------

    def expect(self) -> None:
        """Look at the clock when the answer to what was just asked for is late."""
        if self._given_up.done():
            return
        due = self._next_look()
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due  # beside the timer: uvloop's handle of a call at once knows no time
        self._timer = asyncio.get_running_loop().call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._time.now()
        self._step(self.connection.handle_timeout(now))
        silence = now - self._heard_at
        if self._writing_since is not None:
            if now - self._writing_since >= self._silence_timeout:
                self._give_up(f"it took nothing for {self._silence_timeout:g} s")
        elif self._stalled:
            pass  # it is we who do not read
        elif silence >= self._silence_timeout:
            self._give_up(f"it said nothing for {self._silence_timeout:g} s")
        elif silence >= self._silence_timeout / 2 and self._pinged_at <= self._heard_at:
            self._pinged_at = now
            self._pinging = asyncio.create_task(self._ping(), name="asp-socket-pings")
        self.expect()

    def _next_look(self) -> float:
        due = self.connection.next_timeout()
        half = self._silence_timeout / 2
        if self._writing_since is not None:
            look = self._writing_since + self._silence_timeout
        elif self._stalled:
            look = self._time.now() + half
        elif self._pinged_at > self._heard_at:
            look = self._heard_at + self._silence_timeout
        else:
            look = self._heard_at + half
        return look if due is None else min(due, look)

    async def _ping(self) -> None:
        with suppress(ConnectionClosed):
            await (await self._websocket.ping())
            self._heard_at = self._time.now()

    def _give_up(self, silence: str) -> None:
        self._silence = silence
        self._given_up.set_result(None)
        self._websocket.transport.abort()  # it would not answer a farewell, either

    # --- steps ------------------------------------------------------------------------------

    def _step(self, events: list[Event]) -> asyncio.Event | None:
        """Hand on what has happened."""
        if not events:
            return None
        for event in events:
            if isinstance(event, HandshakeFailed):
                self.refusal = event.error
        room = self._take(self, events)
        if not isinstance(events[-1], AudioReceived):
            self.expect()
        if self.connection.state is not LinkState.CONNECTED:
            self.opened.set()
        return room

    def _collect(self) -> None:
        for output in self.connection.take_output():
            self._pending.append(output)
            if not isinstance(output, Close):
                self._backlog += len(output)

    # --- the end ----------------------------------------------------------------------------

    async def _shut(self) -> None:
        """Close the WebSocket, whatever the server does."""
        closing = self._closing or Close(1000, "")
        reads = asyncio.create_task(self._discard(), name="asp-socket-discards")
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._websocket.close(closing.code, closing.reason)
        except TimeoutError:
            self._websocket.transport.abort()
        finally:
            reads.cancel()
            await asyncio.gather(reads, return_exceptions=True)

    async def _discard(self) -> None:
        """Read what is left: the server's own end stands behind it."""
        while True:
            await self._websocket.recv()

    def _end(self) -> None:
        code, reason = self._websocket.close_code, self._websocket.close_reason
        if self._closing is not None:
            self.loss = "it was closed here"
        elif self._silence is not None:
            self.loss = self._silence
        elif code is None or code == 1006:
            self.loss = "the connection was lost"
        else:
            self.loss = f"the server closed it: {code} {reason or ''}".rstrip()
        if self.refusal is None and self._closing is None and code in _ERRORS:
            known = _ERRORS[code]
            self.refusal = protocol_error(known, f"the server closed the socket: {reason}")
        for left in (self._timer, self._pinging, self._given_up):
            if left is not None:
                left.cancel()
        now = self._time.now()
        self._step(self.connection.closed(now))
        self._progress.set()
        self.opened.set()
        self._observe(Observed(now, "closed"))
        self._lost(self)


def _shows_capabilities(text: str) -> bool:
    try:
        return bool(read_object(text)["type"] == ProtocolCapabilitiesMessage.message_type)
    except Rejection:
        return False
