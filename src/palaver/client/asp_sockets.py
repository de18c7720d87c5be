"""The sockets of one client: one for new sessions, and those that older ones still run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from palaver.client.asp_dial import Tries, Unanswered, Verdicts, dial
from palaver.client.asp_socket import AspRefused, AspSocket, Observe, Time
from palaver.client.transport import Patience
from palaver.errors import PeerError, PeerUnreachable
from palaver.protocols.asp.errors import ErrorCode
from palaver.protocols.asp.events import Event
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.session import Configure

__all__ = ["Plan", "Sockets"]

_FOR_LATER = frozenset({ErrorCode.HANDSHAKE_TIMEOUT, ErrorCode.SESSION_LIMIT_REACHED})
"""Errors that close a socket, and say that another one may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where the sockets of a client go, and how."""

    url: str
    limits: Limits
    patience: Patience
    configure: Configure
    reconnect: bool
    legacy: bool
    observe: Observe
    verdicts: Verdicts


class Sockets:
    """Dials, shares, retires and closes sockets.

    ``take`` and ``lost`` are told what happens on each of them.
    """

    def __init__(
        self,
        plan: Plan,
        take: Callable[[AspSocket, list[Event]], asyncio.Event | None],
        lost: Callable[[AspSocket], None],
    ) -> None:
        self._plan = plan
        self._take = take
        self._tell_lost = lost
        self._open: set[AspSocket] = set()
        self._current: AspSocket | None = None
        self._dialling: asyncio.Task[AspSocket] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = asyncio.Event()

    def tries(self) -> Tries:
        """Return a new count of tries."""
        plan = self._plan
        return Tries(plan.patience, plan.url, only_one=not plan.reconnect, over=self.closed)

    async def get(self, *, alone: bool = False) -> AspSocket:
        """Return a socket that one more session can be started on; ``alone``: on no other's.

        Raises:
            PeerRefused: the server takes no WebSocket, or closed it for good.
            PeerUnreachable: nobody answers for as long as it is tried.

        """
        if self.closed.is_set():
            raise PeerUnreachable("the client is closed")
        if alone:
            socket = await self._dial_patiently()
            socket.retired = True
            return socket
        current = self._current
        if current is not None and current.usable and self._has_room(current):
            return current
        # Whoever wants one now waits for the same one.
        if self._dialling is None or self._dialling.done():
            self._dialling = asyncio.create_task(self._dial_shared(), name="asp-client-dials")
            self._dialling.add_done_callback(_look_at)
        dialling = self._dialling
        await asyncio.wait({dialling})
        if dialling.cancelled():
            raise PeerUnreachable("the client is closed")
        return dialling.result()

    def why(self, socket: AspSocket) -> PeerError | Unanswered:
        """Return what the loss of a socket means to whoever waited for something on it."""
        refusal = None if socket.refusal is None else AspRefused((socket.refusal,))
        if refusal is not None and refusal.code not in _FOR_LATER:
            return refusal
        return Unanswered(socket.loss or "the connection was lost", refusal)

    def let_go(self, socket: AspSocket) -> None:
        """Close a socket that nobody will use any more."""
        idle = not socket.connection.sessions and socket.connection.closing is None
        if socket.retired and idle and socket.loss is None:
            self._spawn(socket.close())

    async def close(self) -> None:
        """Close all sockets, and wait until they are gone: seconds at most."""
        await asyncio.gather(*(socket.close() for socket in tuple(self._open)))
        while self._tasks:
            await asyncio.gather(*tuple(self._tasks))

    async def stop_dialling(self) -> None:
        """Open no more sockets."""
        self.closed.set()
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.wait({self._dialling})

    # --- inside -----------------------------------------------------------------------------

    def _has_room(self, socket: AspSocket) -> bool:
        return len(socket.connection.sessions) < self._plan.limits.max_sessions_per_socket

    async def _dial_shared(self) -> AspSocket:
        self._current = await self._dial_patiently()
        return self._current

    async def _dial_patiently(self) -> AspSocket:
        tries = self.tries()
        while True:
            try:
                return await self._dial()
            except Unanswered as failure:
                await tries.again(failure)

    async def _dial(self) -> AspSocket:
        plan = self._plan
        websocket = await dial(plan.url, plan.patience, subprotocol=not plan.legacy)
        time = Time()
        socket = AspSocket(
            websocket,
            time,
            plan.limits,
            plan.patience,
            configure=plan.configure,
            assume_legacy=plan.verdicts.is_legacy(plan.url, time.now()),
            speak_legacy=plan.legacy,
            observe=plan.observe,
        )
        self._open.add(socket)
        socket.start(self._take, self._lost)
        try:
            await socket.opened.wait()
        except BaseException:
            self._spawn(socket.close())
            raise
        if socket.loss is not None:
            raise self.why(socket)
        return socket

    def _lost(self, socket: AspSocket) -> None:
        self._open.discard(socket)
        if self._current is socket:
            self._current = None
        self._tell_lost(socket)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="asp-client-closes")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _look_at(task: asyncio.Task[Any]) -> None:
    """Have seen how a task ended, where nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
