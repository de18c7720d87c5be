"""One WebSocket that speaks ASP: what comes in goes to the core, what the core says goes out."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, Protocol

import structlog
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from palaver.protocols.asp.events import AudioReceived, Close, Event, Output
from palaver.protocols.asp.server import ServerConnection
from palaver.protocols.asp.sessions import Sessions
from palaver.server.asp_log import log_received, log_sent
from palaver.server.websocket import WEBSOCKET, ClientSocket

__all__ = ["AspServer", "AspSocket"]

_log = structlog.get_logger("palaver.asp")

MAX_LOGGED: Final = 100
"""Messages of one client and second whose effects are logged one by one."""

_MARK: Final = 64 * 1024
"""Bytes that wait for a client before it counts as one that does not take them."""
_SHOWN: Final = 20
"""Sessions that a line of the log names."""


class AspServer(Protocol):
    """What a socket needs of the server that it belongs to."""

    sessions: Sessions
    server_id: str

    def now(self) -> float:
        """Return the time (s)."""
        ...

    def take(self, events: list[Event], *, logged: bool = True) -> None:
        """Take what has happened; it has its lines in the log where it is ``logged``."""
        ...

    def hear(self, audio: AudioReceived) -> None:
        """Take audio: ``take`` for what comes fifty times a second for each call."""
        ...


class AspSocket:
    """The core of one connection, with a WebSocket around it.

    With our own listener, messages are taken and answered where they are read: no task wakes up
    for a frame. Elsewhere they come and go as ASGI says.
    """

    def __init__(self, server: AspServer, scope: Scope, receive: Receive, send: Send) -> None:
        self._server = server
        self._now = server.now
        self._receive = receive
        self._send = send
        extensions: dict[str, Any] = scope.get("extensions") or {}
        self._client: ClientSocket | None = extensions.get(WEBSOCKET)
        self._loop = asyncio.get_running_loop()
        self._reading = False
        self._flood_until = 0.0
        self._logged = 0
        self._unlogged = 0
        self._flush_due = False
        self._unread: list[str | bytes] = []
        self._waiting: deque[Output] = deque()
        self._waiting_bytes = 0
        self._drained = asyncio.Event()
        self._drained.set()
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._over = False
        self._dropped = False
        self._runner: asyncio.Task[None] | None = None
        self._connection = ServerConnection(
            server.sessions,
            server.now(),
            server_id=scope.get("path_params", {}).get("agent_id") or server.server_id,
            on_output=self._flush_soon,
        )

    async def run(self) -> None:
        """Serve the socket until it is closed."""
        client = self._client
        self._runner = asyncio.current_task()
        if client is not None:
            client.on_messages = self._read_waiting
            client.on_binary = self._take_audio
        self._flush()
        self._set_timer()
        self._read_waiting()
        try:
            await self._receive_all()
        except asyncio.CancelledError:
            # Where only the server can drop a client, it does so when its application ends.
            if not self._dropped or self._runner is None or self._runner.uncancel():
                raise
        finally:
            if client is not None:
                client.on_messages = client.on_binary = None
            await self._end()

    def go_away(self, grace: float) -> None:
        """Tell the client that the socket closes in ``grace`` seconds; at once if it is idle."""
        if self._connection.sessions:
            self._connection.go_away(self._now(), grace)
        else:
            self.shut_down()

    def shut_down(self) -> None:
        """End the sessions of the socket, and close it."""
        self._server.take(self._connection.shut_down(self._now()))

    # --- in ---------------------------------------------------------------------------------

    async def _receive_all(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return
            if message["type"] == "websocket.connect":
                continue
            data = message.get("bytes")
            self._unread.append(message["text"] if data is None else data)
            self._read_waiting()
            await self._drained.wait()

    def _read_waiting(self) -> None:
        # While the client does not take what it was answered, nothing more is read from it.
        if not self._drained.is_set():
            return
        messages, self._unread = self._unread, []
        if self._client is not None:
            messages += self._client.take_messages()
        if messages:
            self._take(messages)

    def _take_audio(self, data: bytes) -> bool:
        """Take a binary message as ``_take`` does, unless it has to wait: audio is most of all."""
        connection = self._connection
        if connection.congested or self._unread:
            return False
        now = self._now()
        self._reading = True
        try:
            audio = connection.receive_next(data, now)
            if audio is not None:
                self._server.hear(audio)
            elif events := connection.receive_bytes(data, now):
                # Nothing comes behind audio, and it has no line in the log.
                plain = type(events[0]) is AudioReceived
                self._server.take(events, logged=plain or self._may_log(events))
        finally:
            self._reading = False
        if self._flush_due:
            self._flush()
        return True

    def _take(self, messages: list[str | bytes]) -> None:
        connection, server = self._connection, self._server
        deadlines_moved = False  # audio moves none
        self._reading = True
        try:
            for data in messages:
                if isinstance(data, str):
                    deadlines_moved = True
                    log_received(data)
                    events = connection.receive_text(data, server.now())
                    self._flush()  # the answer goes before the log, the metrics and the agent
                else:
                    events = connection.receive_bytes(data, server.now())
                if events:
                    server.take(events, logged=self._may_log(events))
        finally:
            self._reading = False
        self._flush()
        if deadlines_moved:
            self._set_timer()

    def _may_log(self, events: list[Event]) -> bool:
        """Tell whether what a client has brought about is logged: in a flood, only its size is."""
        if len(events) == 1 and type(events[0]) is AudioReceived:
            return True  # has no line
        now = self._loop.time()
        if now >= self._flood_until:
            if self._unlogged:
                _log.warning("asp_log_flooded", unlogged=self._unlogged)
            self._flood_until, self._logged, self._unlogged = now + 1.0, 0, 0
        self._logged += 1
        if self._logged > MAX_LOGGED:
            self._unlogged += 1
        return self._logged <= MAX_LOGGED

    # --- out --------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        """Send what the core has to say, once what says it has said all."""
        if not self._flush_due and not self._over:
            self._flush_due = True
            if not self._reading:  # then whoever reads sends it
                self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        output = self._connection.take_output()
        if not output or self._over:
            return
        log_sent(output)
        if self._client is not None and not self._waiting:
            messages = [one for one in output if not isinstance(one, Close)]
            if not messages or self._client.send_now(*messages):
                output = [one for one in output if isinstance(one, Close)]
        if output:
            self._wait_with(output)

    def _wait_with(self, output: list[Output]) -> None:
        """Have a task send what cannot be sent now."""
        self._waiting.extend(output)
        self._waiting_bytes += sum(len(one) for one in output if not isinstance(one, Close))
        if self._waiting_bytes > self._max_waiting_bytes:
            sessions = list(self._connection.sessions)[:_SHOWN]
            _log.warning(
                "asp_client_too_slow", sessions=sessions, waiting_bytes=self._waiting_bytes
            )
            self._drop()
            return
        # Where messages always go through a task, that some wait for their turn means nothing yet.
        if self._client is not None or self._waiting_bytes > _MARK:
            self._set_congested(waits=True)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="asp-writer")

    @property
    def _max_waiting_bytes(self) -> int:
        # After a drop, each session may say all that it has kept for that at once.
        sessions = max(1, len(self._connection.sessions))
        return sessions * self._server.sessions.limits.max_kept_bytes

    async def _write(self) -> None:
        while self._waiting:
            output = self._waiting[0]
            try:
                await self._send(_as_asgi(output))
            except (OSError, WebSocketDisconnect):
                self._give_up()  # ``receive`` tells of it as well
            if self._over:
                break
            self._waiting.popleft()
            if not isinstance(output, Close):
                self._waiting_bytes -= len(output)
        self._set_congested(waits=False)
        self._read_waiting()

    def _set_congested(self, *, waits: bool) -> None:
        self._connection.congested = waits
        if waits:
            self._drained.clear()
        else:
            self._drained.set()

    # --- time -------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        due = self._connection.next_timeout()
        if self._timer is not None:
            if due is not None and self._due <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._due = due  # beside the timer: uvloop's handle of a call at once knows no time
            self._timer = self._loop.call_later(max(0.0, due - self._now()), self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        self._server.take(self._connection.handle_timeout(self._now()))
        self._flush()
        self._set_timer()

    # --- the end ----------------------------------------------------------------------------

    def _give_up(self) -> None:
        """Send nothing more."""
        self._over = True
        self._waiting.clear()
        self._waiting_bytes = 0

    def _drop(self) -> None:
        """Close without a word: none would arrive."""
        self._give_up()
        if self._client is not None:
            self._client.abort()
        elif self._runner is not None and not self._dropped:
            self._dropped = True
            self._runner.cancel()

    async def _end(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._server.take(self._connection.closed(self._now()))
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)


def _as_asgi(output: Output) -> dict[str, Any]:
    if isinstance(output, Close):
        return {"type": "websocket.close", "code": output.code, "reason": output.reason}
    kind = "text" if isinstance(output, str) else "bytes"
    return {"type": "websocket.send", kind: output}
