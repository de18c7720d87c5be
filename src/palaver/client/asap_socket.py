"""ASAP over a WebSocket: the core of a client with sockets around it, which come and go.

While it is awake, one task dials, reads and dials again; another one writes. Each request waits
for its own future, so that answers may come in any order, and one that is slow holds up no other.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import structlog
from websockets.asyncio.client import ClientConnection as WebSocket
from websockets.exceptions import ConnectionClosed

from palaver.client.asap_dial import dial_asap
from palaver.client.asap_errors import AsapRefused, AsapUnreachable, raised
from palaver.client.asap_http import Headers, headers_of
from palaver.client.asap_pushes import OnMessage, Pushes
from palaver.client.asap_writer import SocketWriter
from palaver.client.asp_dial import Unanswered, shown
from palaver.client.transport import Patience
from palaver.engine.clock import new_id, wall_clock
from palaver.errors import PeerError
from palaver.model.ids import IdSource
from palaver.protocols.asap.client_connection import ClientConnection
from palaver.protocols.asap.connection import Misuse
from palaver.protocols.asap.events import (
    ClientEvent,
    ErrorReceived,
    FrameIgnored,
    GaveUp,
    Pushed,
    ReplyReceived,
    RequestFailed,
)
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import Envelope

__all__ = ["OnMessage", "SocketLink"]

_log = structlog.get_logger("palaver.client")
_CLOSE_TIMEOUT: Final = 2.0
_TOO_LARGE: Final = 1009
_UNAUTHORIZED: Final = frozenset({4401, 4403})


class SocketLink:
    """A WebSocket to ``url`` that comes back by itself, for as long as anybody needs it.

    It is opened by the first request, which fails with it. Once it was open it is opened again when
    it was lost: as long as there are requests without an answer, or somebody listens
    (``on_message``). In between it sleeps.
    """

    def __init__(
        self,
        url: str,
        patience: Patience,
        limits: Limits,
        *,
        headers: Headers | None = None,
        on_message: OnMessage | None = None,
        max_reconnects: int | None = None,
        compress: bool = False,
        ids: IdSource = new_id,
    ) -> None:
        self.url: Final = url
        self._patience = patience
        self._headers: Headers = {} if headers is None else headers
        self._listens = on_message is not None
        self._max_reconnects = max_reconnects
        self._compress = compress
        self._wake = asyncio.Event()
        self._core = ClientConnection(limits, new_id=ids, on_output=self._wake.set)
        self._waiting: dict[str, asyncio.Future[Envelope]] = {}
        self._pushes = Pushes(on_message, self._pushed)
        self._clock = _Clock()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # a timer of uvloop that is due at once does not know when
        self._run_task: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] | None = None
        self._closed = False
        self._known = False
        """Whether it was open before: then a server that is away is waited for."""
        self._why = "it was never reached"

    @property
    def attached(self) -> bool:
        """Whether there is a socket."""
        return self._core.attached

    @property
    def pending(self) -> int:
        """How many requests have no answer."""
        return self._core.pending

    async def connect(self) -> None:
        """See that it is open, or was and is on its way back.

        Raises:
            PeerError: it cannot be opened for the first time.

        """
        if self._closed:
            raise AsapUnreachable("the client is closed", local=True)
        if self._run_task is None:
            loop = asyncio.get_running_loop()
            self._opened = loop.create_future()
            self._opened.add_done_callback(_seen)
            if self._known:
                self._opened.set_result(None)
            self._run_task = asyncio.create_task(self._run(self._opened), name="asap-socket")
        opened = self._opened
        if opened is not None:
            if not opened.done():
                await asyncio.wait({opened})
            opened.result()

    async def exchange(self, envelope: Envelope, key: str | None, timeout: float) -> Envelope:  # noqa: ASYNC109
        """Send a request, and return the answer. ``timeout`` (s) is that of all of it.

        Raises:
            AsapRefused: the server answered with an error, or takes no WebSocket.
            AsapInvalid: it answered what is no ASAP.
            AsapUnreachable: there was no answer in time, or as many requests wait as may.

        """
        left = timeout
        if not self._core.attached:
            left = await self._woken(timeout)
        now = self._clock.now()
        try:
            request_id = self._core.send(envelope, now, idempotency_key=key, timeout=left)
        except Misuse as error:
            raise AsapUnreachable(str(error), local=True) from None
        future: asyncio.Future[Envelope] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        self._watch()
        try:
            return await future
        except _GivenUp as given_up:
            if given_up.cause == "unanswered":
                raise self._late(timeout) from None
            why = "did not acknowledge the request, however often it was sent"
            raise AsapUnreachable(f"{shown(self.url)} {why}") from None
        finally:
            del self._waiting[request_id]
            self._core.forget(request_id, self._clock.now())

    async def close(self) -> None:
        """Close the socket; what waits for an answer ends in ``AsapUnreachable``."""
        self._closed = True
        self._fail_all(AsapUnreachable("the client is closed", local=True))
        self._core.shut_down(self._clock.now())
        task = self._run_task
        if task is not None:
            if self.attached:
                await asyncio.wait({task}, timeout=_CLOSE_TIMEOUT)
            task.cancel()
            await asyncio.wait({task})
        if self._timer is not None:
            self._timer.cancel()
        await self._pushes.close()

    async def _woken(self, timeout: float) -> float:  # noqa: ASYNC109
        """See that it is awake; return what is left of ``timeout``."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(timeout):
                await self.connect()
        except TimeoutError:
            raise self._late(timeout) from None
        return max(0.0, timeout - (loop.time() - began))

    # --- sockets ----------------------------------------------------------------------------

    async def _run(self, opened: asyncio.Future[None]) -> None:
        """Have a socket, for as long as one is needed."""
        failures = 0
        try:
            while True:
                try:
                    websocket = await self._dial()
                except Unanswered as failure:
                    self._why = str(failure)
                    failures += 1
                    if not opened.done():
                        raise self._unreachable(failure) from failure
                else:
                    self._known = True
                    if not opened.done():
                        opened.set_result(None)
                    if await self._serve(websocket):
                        failures = 0
                    failures += 1
                if self._closed or not self._needed:
                    return
                await self._before_next(failures)
        except PeerError as error:
            self._end(opened, error)
        except BaseException:
            self._end(opened, AsapUnreachable("the client is closed", local=True))
            raise
        finally:
            # Nothing is awaited from here on: who asks next finds it asleep.
            self._run_task = self._opened = None

    async def _before_next(self, failures: int) -> None:
        """Wait before the next socket.

        Raises:
            AsapUnreachable: there were enough of them.

        """
        if self._max_reconnects is not None and failures > self._max_reconnects:
            raise AsapUnreachable(f"{shown(self.url)} is lost: {self._why}")
        delay = self._patience.delay(failures)
        _log.info("asap_socket_lost", why=self._why, pending=self.pending, delay=delay)
        await asyncio.sleep(delay)

    async def _dial(self) -> WebSocket:
        headers = await headers_of(self._headers)
        return await dial_asap(self.url, self._patience, headers, compress=self._compress)

    async def _serve(self, websocket: WebSocket) -> bool:
        """Speak on a socket until it is lost; tell whether anything was heard there.

        Raises:
            AsapRefused: the server closed it in a way that the next one will not change.

        """
        heard = False
        self._clock.follow()
        self._happened(self._core.connected(self._clock.now()))
        self._watch()
        writer = SocketWriter(websocket, self._core, self._wake, self._patience.silence_timeout)
        try:
            while True:
                data = await websocket.recv()
                heard = True
                self._receive(data)
                await self._pushes.room()
                await writer.room()
        except ConnectionClosed:
            pass
        finally:
            await writer.close()
            self._core.connection_lost(self._clock.now())
            await _shut(websocket)
        self._note_end(websocket)
        return heard

    def _receive(self, data: str | bytes) -> None:
        now = self._clock.now()
        if isinstance(data, str):
            self._happened(self._core.receive_text(data, now), len(data))
        else:
            self._happened(self._core.receive_binary(data, now))
        self._watch()

    @property
    def _needed(self) -> bool:
        return self._listens or not self._core.idle

    def _note_end(self, websocket: WebSocket) -> None:
        code, reason = websocket.close_code, websocket.close_reason
        if code is None or code == 1006:
            self._why = "the connection was lost"
            return
        self._why = f"the server closed it: {code} {reason or ''}".rstrip()
        if self._closed:
            return
        if code == _TOO_LARGE:
            # What was too large once is so the next time; which one it was is not said.
            self._fail_all(AsapRefused(code, f"{shown(self.url)} refused a frame: {self._why}"))
        elif code in _UNAUTHORIZED:
            raise AsapRefused(code, f"{shown(self.url)}: {self._why}")

    def _end(self, opened: asyncio.Future[None], error: PeerError) -> None:
        """Let all know that there will be no socket."""
        if not opened.done():
            opened.set_exception(error)
        self._fail_all(error)

    # --- what happens -----------------------------------------------------------------------

    def _happened(self, events: list[ClientEvent], size: int = 0) -> None:
        for event in events:
            match event:
                case ReplyReceived():
                    self._settle(event.request_id, event.envelope)
                case RequestFailed():
                    self._settle(event.request_id, raised(event.error, shown(self.url)))
                case GaveUp():
                    self._settle(event.request_id, _GivenUp(event.cause))
                case Pushed():
                    self._pushes.put(event.envelope, size)
                case FrameIgnored():
                    _log.debug("asap_frame_ignored", why=event.reason)
                case ErrorReceived():
                    _log.warning("asap_error_received", error=event.error.message)

    def _settle(self, request_id: str, result: Envelope | Exception) -> None:
        future = self._waiting.get(request_id)
        if future is None or future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def _fail_all(self, error: PeerError) -> None:
        for request_id in tuple(self._waiting):
            self._core.forget(request_id, self._clock.now())
            self._settle(request_id, error)

    def _pushed(self, envelope: Envelope, failure: str | None) -> None:
        """Tell the server that wants to know what became of what it pushed."""
        now = self._clock.now()
        if failure is None:
            self._core.processed(envelope, now)
        else:
            self._core.rejected(envelope, failure, now)

    # --- the clock --------------------------------------------------------------------------

    def _watch(self) -> None:
        """Look at the clock when the next thing is due."""
        due = self._core.next_timeout()
        if due is None:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0.0, due - self._clock.now())
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer, self._timer_at = loop.call_at(at, self._look), at

    def _look(self) -> None:
        self._timer = None
        self._happened(self._core.handle_timeout(self._clock.now()))
        self._watch()

    # --- errors -----------------------------------------------------------------------------

    def _late(self, timeout: float) -> AsapUnreachable:
        text = f"{shown(self.url)} did not answer within {timeout:g} s"
        if not self.attached:
            text = f"{text}: {self._why}"
        return AsapUnreachable(text, "asap:execution/task_timeout")

    def _unreachable(self, failure: Unanswered) -> PeerError:
        return failure.refusal or AsapUnreachable(f"nobody answers at {shown(self.url)}: {failure}")


class _GivenUp(Exception):
    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class _Clock:
    """Seconds since the epoch that never run backwards, whatever the machine's clock is set to."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._offset = wall_clock() - self._loop.time()

    def now(self) -> float:
        """Return the time."""
        return self._loop.time() + self._offset

    def follow(self) -> None:
        """Take note that the machine's clock was set forward, or that it slept."""
        self._offset = max(self._offset, wall_clock() - self._loop.time())


def _seen(future: asyncio.Future[None]) -> None:
    """Have seen how it ended, where nobody waits for it any more."""
    if not future.cancelled():
        future.exception()


async def _shut(websocket: WebSocket) -> None:
    """Close the WebSocket, whatever the server does."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await websocket.close()
            return
    websocket.transport.abort()
