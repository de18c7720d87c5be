"""Our server in a thread of this process: its calls are answered as a test says, and counted."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
import uvloop

from palaver.app import App, create_app
from palaver.config import Settings
from palaver.engine.agent import Agent
from palaver.protocols.asp.call import Call, CallListener, Silence
from palaver.protocols.asp.events import AudioReceived, ConfigSwitched, Event, SessionClosed
from palaver.server.asp import AspEndpoint
from palaver.server.listener import Listener, bind
from palaver.speech.open import Engines
from tests.conftest import Server
from tests.server.agents import agent

T = TypeVar("T")
TIMEOUT = 15.0
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
DENSE = ("--set", "asp_port=0")
SHELLS = ("main port", "dense port")
ECHO = ("--set", "asp_echo_test=true", "--set", "log_format=json")


class Mirror:
    """Says each audio message again, at once."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._call.session.start_response(call.now(), "mirror")

    def heard(self, event: Event) -> None:
        """Say it again."""
        if isinstance(event, AudioReceived):
            assert self._call.session.send_audio(event.payload, self._call.now())

    def closed(self, event: SessionClosed) -> None:
        """Let go."""


class Record:
    """Keeps what is heard in all calls, by session."""

    def __init__(self) -> None:
        self.audio: dict[str, list[AudioReceived]] = {}
        self.switches: dict[str, list[ConfigSwitched]] = {}
        self.closed: dict[str, SessionClosed] = {}

    def __call__(self, call: Call) -> CallListener:
        """Listen to one more call."""
        record = self

        class Listening:
            def heard(self, event: Event) -> None:
                if isinstance(event, AudioReceived):
                    record.audio.setdefault(event.session_id, []).append(event)
                elif isinstance(event, ConfigSwitched):
                    record.switches.setdefault(event.session_id, []).append(event)

            def closed(self, event: SessionClosed) -> None:
                record.closed[event.session_id] = event

        return Listening()


class Plain(uvicorn.Server):
    """uvicorn as it comes."""

    def __init__(self, app: App, announce: Callable[[], None]) -> None:
        super().__init__(uvicorn.Config(app, ws="websockets-sansio", log_config=None))
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell when it serves."""
        await super().startup(sockets)
        self._announce()


@dataclass(slots=True)
class Host:
    """A server that runs in another thread."""

    app: App
    listener: uvicorn.Server
    loop: asyncio.AbstractEventLoop
    port: int

    @property
    def endpoint(self) -> AspEndpoint:
        """Where the calls arrive."""
        return self.app._asp

    async def ask(self, question: Callable[[], T]) -> T:
        """Return the answer to a question that is asked in the server's own thread."""

        async def answer() -> T:
            return question()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer(), self.loop))

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what becomes of work in the server's own thread."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    async def left(self) -> dict[str, int]:
        """Return what the server holds: of each thing, how many."""

        def count() -> dict[str, int]:
            endpoint = self.endpoint
            voice = self.app._voice
            batch = None if voice is None else voice._batch
            tasks = [one.get_name() for one in asyncio.all_tasks(self.loop)]
            return {
                "sessions": len(endpoint.sessions),
                "listeners": len(endpoint._listeners),
                "sockets": len(endpoint._sockets),
                "open sockets": endpoint._open_sockets,
                "streams": len(endpoint.sessions._streams),
                "dense sockets": 0 if self.app._dense is None else len(self.app._dense._sockets),
                "connections": len(self.listener.server_state.connections),
                "requests": len(self.listener.server_state.tasks),
                "tasks": len(tasks),
                "calls": 0 if voice is None else len(voice._calls),
                "ears": 0 if batch is None else batch.sessions,
                "given up": 0 if voice is None else len(voice._studio.given_up),
            }

        return await self.ask(count)

    async def emptied(self, before: dict[str, int]) -> dict[str, int]:
        """Return what is left once it is what was there before, or time is over."""
        left = await self.left()
        with suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT):
                while left != before:
                    left = await self.left()
        return left


async def eventually(test: Callable[[], T]) -> T:
    """Return what the test returns once it is something: for what nobody tells of."""
    async with asyncio.timeout(TIMEOUT):
        while not (found := test()):  # noqa: ASYNC110 # a file that grows wakes nobody
            await asyncio.sleep(0.005)
    return found


@asynccontextmanager
async def looking_away(host: Host) -> AsyncIterator[None]:
    """Let the server do nothing meanwhile."""
    away, back = threading.Event(), threading.Event()

    def look_away() -> None:
        away.set()
        back.wait(TIMEOUT)

    host.loop.call_soon_threadsafe(look_away)
    await asyncio.to_thread(away.wait)
    try:
        yield
    finally:
        back.set()


@asynccontextmanager
async def hosting(
    answer: Callable[[Call], CallListener] | None = Silence,
    *,
    agents: Sequence[Agent] = (agent,),
    engines: Engines | None = None,
    loop: str = "uvloop",
    send_timeout: float = 30.0,
    plain: bool = False,
    dense: bool = False,
    **settings: Any,
) -> AsyncIterator[Host]:
    """Serve with the listener of calls that the test says, until the end of the block.

    ``plain`` stands for a server of another house, which knows nothing but ASGI; ``dense`` is our
    own port for calls alone, beside the one of our listener. Without a listener of calls, whoever
    the settings say answers, with ``engines`` of speech.
    """
    voice = answer is None
    given: dict[str, Any] = {"store": "memory:", "drain_timeout": 0.1, "voice": voice} | settings
    if dense:
        given |= {"asp_port": 0, "websocket_send_timeout": send_timeout}
    app = create_app(agents, Settings(**given), engines=engines)
    if answer is not None:
        app._asp._answer = answer
    ready = threading.Event()
    listener: uvicorn.Server = Listener(
        app, app.drain, head_timeout=TIMEOUT, announce=ready.set, send_timeout=send_timeout
    )
    if plain:
        listener = Plain(app, ready.set)
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await listener.serve(sockets=[listening])

    def run() -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(serve())

    with bind("127.0.0.1", 0) as listening:
        calls = app.bind()
        port = listening.getsockname()[1] if calls is None else calls[1]
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            assert await asyncio.to_thread(ready.wait, TIMEOUT)
            yield Host(app, listener, loops[0], port)
        finally:
            listener.should_exit = True
            await asyncio.to_thread(thread.join, TIMEOUT)
            assert not thread.is_alive()
            logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)  # silenced at the end


def dense(server: Server) -> Server:
    """Return the same server, by its port for calls; it was started with ``DENSE``."""
    assert server.process.stdout is not None
    line = server.process.stdout.readline()
    found = re.match(r"Calls are taken at ws(://\S+)/asp as well.", line)
    assert found is not None, line
    return replace(server, url=f"http{found[1]}")


def files() -> int:
    """Return how many files and sockets this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


def lines(server: Server, event: str, session_id: str | None = None) -> list[dict[str, Any]]:
    """Return the lines of the server's log with that event, of that session if it is said."""
    found = []
    for text in server.log.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if line["event"] == event and session_id in {None, line.get("session_id")}:
            found.append(line)
    return found


def resident(server: Server) -> float:
    """Return the memory of the server, in MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1_024
