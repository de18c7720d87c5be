"""One WebSocket that speaks ASAP: what comes in goes to the core, what the core says goes out."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

import structlog
from starlette.types import Receive, Scope, Send

from palaver.engine.clock import new_id
from palaver.engine.engine import Engine
from palaver.model.task import Task
from palaver.protocols.asap.deliveries import Deliveries
from palaver.protocols.asap.errors import AsapError
from palaver.protocols.asap.events import Close, RequestReceived, ServerEvent
from palaver.protocols.asap.in_flight import Caller
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.manifest import agent_urn
from palaver.protocols.asap.mapping import reply_envelope
from palaver.protocols.asap.messages import Envelope, Payload
from palaver.protocols.asap.server_connection import ServerConnection
from palaver.protocols.asap.states import LinkState
from palaver.server.asap_following import Followed
from palaver.server.asap_turns import AfterTurns
from palaver.server.websocket_writer import WebSocketWriter

__all__ = ["AsapServer", "AsapSocket"]

_log = structlog.get_logger("palaver.asap")

_MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Bytes of answers and news that wait for a client; then it is dropped, and may come back."""
_TURNS: Final = 3
"""Turns of the event loop that an acknowledgement waits for company: so many a short task takes
from its request to its answer. Sent alone it is one more write, and wakes the client once more."""
_PIECE: Final = 64 * 1024
"""Characters that are sent without waiting for what else this turn has to say."""
_MAX_FOLLOWED: Final = 256
"""Tasks of one socket of which it is told while they go on."""


class AsapServer(Protocol):
    """What a socket needs of the server that it belongs to."""

    engine: Engine
    limits: Limits
    deliveries: Deliveries
    caller: Caller

    def now(self) -> float:
        """Return the time (Unix seconds), which never runs backwards."""
        ...

    def take(self, socket: AsapSocket, event: ServerEvent) -> None:
        """Take what has happened; each request is owed ``respond`` or ``fail`` of its socket."""
        ...

    def pushed(self) -> None:
        """Take note of an envelope that nobody had to ask for."""
        ...


class AsapSocket:
    """The core of one connection, with a WebSocket around it.

    With our own listener, messages are taken where they are read: no task wakes up for a frame.
    Elsewhere they come as ASGI says. What the core does not want yet is left unread.
    """

    def __init__(self, server: AsapServer, scope: Scope, receive: Receive, send: Send) -> None:
        self.agent_id: Final[str | None] = scope.get("path_params", {}).get("agent_id")
        self.peer: str | None = None
        """Who sent the last request."""
        self._server = server
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._unread: deque[str | bytes] = deque()
        self._busy = False
        self._later = AfterTurns(self._flush)
        self._readable = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # a timer of uvloop that is due at once does not know when
        self._runner: asyncio.Task[None] | None = None
        self._dropped = False
        self._lost = False
        self._writer = WebSocketWriter(
            scope,
            send,
            max_waiting_bytes=_MAX_WAITING_BYTES,
            on_change=self._on_congestion,
            drop=self._drop,
        )
        self._followed = Followed(
            server.engine, self._tell, self._flowing.wait, max_tasks=_MAX_FOLLOWED
        )
        self._connection = ServerConnection(
            server.limits,
            server.now(),
            new_id=new_id,
            caller=server.caller,
            deliveries=server.deliveries,
            on_output=self._flush_soon,
        )

    async def run(self) -> None:
        """Serve the socket until it is closed."""
        client = self._writer.client
        self._runner = asyncio.current_task()
        if client is not None:
            client.on_messages = self._read
            client.on_lost = self._on_lost
        self._set_timer()
        self._read()
        try:
            await self._receive_all()
        except asyncio.CancelledError:
            # Where only the server can drop a client, it does so when its application ends.
            if not self._dropped or self._runner is None or self._runner.uncancel():
                raise
        finally:
            if client is not None:
                client.on_messages = client.on_lost = None
            await self._end()

    # --- what the server says ---------------------------------------------------------------

    def respond(self, request: RequestReceived, reply: Envelope) -> None:
        """Answer a request; also when the socket is gone, for those who joined it on another."""
        now = self._server.now()
        self._connection.processed(request.envelope, now)
        self._take(self._connection.respond(request.request_id, reply, now))
        self._go_on()

    def fail(self, request: RequestReceived, error: AsapError) -> None:
        """Answer a request with an error."""
        self._take(self._connection.fail(request.request_id, error, self._server.now()))
        self._go_on()

    async def room(self) -> None:
        """Wait while the client does not take what it is sent; not for one that is gone."""
        while self._writer.congested and not self._lost:
            await self._flowing.wait()

    async def follow(self, request: Envelope, task: Task) -> None:
        """Tell what happens to the task from now on."""
        await self._followed.follow(request, task)

    def push(self, envelope: Envelope) -> bool:
        """Send an envelope that is no answer; return whether it could be sent."""
        if self._connection.state is LinkState.CLOSED:
            return False
        self._connection.push(envelope, self._server.now())
        self._server.pushed()
        return True

    @property
    def congested(self) -> bool:
        """Whether the client does not take what it is sent."""
        return self._writer.congested

    def shut_down(self) -> None:
        """Take no new requests, and close after the last answer."""
        self._connection.shut_down(self._server.now())

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
            self._read()
            await self._readable.wait()

    def _read(self) -> None:
        """Take what has come, as long as the core wants more."""
        if self._busy:
            return
        self._busy = True
        try:
            # Whether it may go on is asked once for each message: time passes meanwhile.
            while (may_read := self._may_read) and self._next():
                self._take_one(self._unread.popleft())
        finally:
            self._busy = False
        if may_read or self._lost:
            self._readable.set()
        else:
            self._readable.clear()
        if not self._connection.in_flight:
            self._flush()
        elif self._connection.has_output:
            self._later.ask(_TURNS)
        self._set_timer()

    @property
    def _may_read(self) -> bool:
        connection = self._connection
        resume_at = connection.resume_at
        return connection.wants_more and (resume_at is None or resume_at <= self._server.now())

    def _next(self) -> bool:
        """Tell whether there is something to take."""
        if not self._unread and self._writer.client is not None:
            self._unread.extend(self._writer.client.take_messages())
        return bool(self._unread)

    def _take_one(self, data: str | bytes) -> None:
        now = self._server.now()
        if isinstance(data, str):
            self._take(self._connection.receive_text(data, now))
        else:
            self._take(self._connection.receive_binary(data, now))

    def _take(self, events: list[ServerEvent]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                self.peer = event.envelope.sender
            self._server.take(self, event)

    def _go_on(self) -> None:
        """Read what had to wait for an answer. Short answers of one turn go in one piece."""
        if not self._busy:
            if self._connection.output_size > _PIECE or not self._connection.in_flight:
                self._flush()
            else:
                self._later.ask(0)
        if not self._readable.is_set():
            self._read()

    # --- out --------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        """Send what the core has to say, once what says it has said all."""
        if not self._busy:
            self._later.ask(0)

    def _flush(self) -> None:
        output = self._connection.take_output()
        if not output:
            return
        texts = [one for one in output if not isinstance(one, Close)]
        end = output[-1]
        self._writer.put(texts, (end.code, end.reason) if isinstance(end, Close) else None)

    def _tell(self, request: Envelope, agent_id: str, payload: Payload) -> None:
        sender = agent_urn(agent_id)
        now = self._server.now()
        self.push(reply_envelope(request, payload, id=new_id("env"), now=now, sender=sender))

    def _on_congestion(self) -> None:
        self._connection.congested = self._writer.congested
        if self._writer.congested:
            self._flowing.clear()
        else:
            self._flowing.set()
            self._read()

    # --- time -------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        connection, now = self._connection, self._server.now()
        due = connection.next_timeout()
        if due is None:
            if self._timer is not None:
                self._timer.cancel()
            return
        if connection.resume_at is not None and not self._readable.is_set():
            due = min(due, connection.resume_at)  # which may be over by now
        at = self._loop.time() + max(0.0, due - now)
        if self._timer is not None:
            if not self._timer.cancelled() and self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(at, self._time_out), at

    def _time_out(self) -> None:
        self._timer = None
        self._take(self._connection.handle_timeout(self._server.now()))
        self._read()

    # --- the end ----------------------------------------------------------------------------

    def _on_lost(self) -> None:
        """Let ``receive`` tell of the end, though nothing is read at the moment."""
        self._lost = True
        self._writer.give_up()
        self._readable.set()
        self._flowing.set()

    def _drop(self) -> None:
        """Close without a word: none would arrive."""
        client = self._writer.client
        if client is not None:
            client.abort()
        elif self._runner is not None and not self._dropped:
            self._dropped = True
            self._runner.cancel()

    async def _end(self) -> None:
        self._lost = True
        self._flowing.set()
        if self._timer is not None:
            self._timer.cancel()
        self._take(self._connection.closed(self._server.now()))
        await self._followed.close()
        await self._writer.close()
