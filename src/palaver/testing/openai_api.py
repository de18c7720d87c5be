"""A local server of the OpenAI API, which answers without a model, and fails on purpose.

::

    async with OpenAiApi() as api:
        api.fail(ApiFault(status=503))  # the next request; those after it are answered well
        ...  # a client of api.base_url

It speaks the three calls that Palaver uses: transcriptions, speech (PCM), and chat completions
(streamed). What it was asked is in ``requests``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from functools import partial
from itertools import accumulate, pairwise
from types import TracebackType
from typing import Any, Final, Self

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

__all__ = ["ApiFault", "ApiRequest", "OpenAiApi"]

_START_TIMEOUT: Final = 10.0
_PIECE: Final = 960  # 20 ms of PCM at 24 kHz


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiFault:
    """What goes wrong with one request; as it stands, nothing does."""

    status: int = 200
    """Another one is answered with an error object."""

    message: str = "asked to fail"
    """What the error object says."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent beside the others, or in their place."""

    body: bytes | None = None
    """Sent as it is, in place of the answer."""

    silent: bool = False
    """No answer comes, not even its headers, until ``release``."""

    hold_after: int | None = None
    """After that many bytes of the body nothing comes until ``release``."""

    cut_after: int | None = None
    """After that many bytes of the body the connection is closed."""

    interval: float = 0.0
    """Seconds between two pieces of the body."""

    piece_bytes: int | None = None
    """The body is cut into pieces of that size, wherever it falls."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """What the server was asked: ``fields`` are the members of the JSON, or of the form."""

    path: str
    headers: Mapping[str, str]
    fields: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    client: tuple[str, int] = ("", 0)
    """The client's end of the connection."""


class OpenAiApi:
    """The server. Set what it answers, use it in an ``async with`` block, and ask ``base_url``.

    Attributes:
        base_url: Where clients find it, ``/v1`` included.
        api_key: Where it is not empty, requests have to bring it.
        models: Those that it knows.
        transcript: The answer to a transcription, as ``verbose_json`` has it.
        chat: The pieces of an answer; ``None``: the words of the last message.
        audio: The PCM of an answer; ``None``: 20 ms of a saw tooth for each letter.
        requests: Everything that it was asked.
        left: How many answers a client did not take to their end.

    """

    def __init__(self, *, api_key: str = "", models: Sequence[str] = ("test-model",)) -> None:
        self.base_url = ""
        self.api_key = api_key
        self.models = tuple(models)
        self.transcript: dict[str, Any] = {"text": "hello there"}
        self.chat: Sequence[str] | None = None
        self.audio: bytes | None = None
        self.requests: list[ApiRequest] = []
        self.left = 0
        self._faults: deque[ApiFault] = deque()
        self._released = asyncio.Event()
        self._moved = asyncio.Condition()
        paths = ("/v1/audio/transcriptions", "/v1/audio/speech", "/v1/chat/completions")
        self._server = _Server(
            Starlette(routes=[Route(path, self._serve, methods=["POST"]) for path in paths])
        )
        self._running: asyncio.Task[None] | None = None

    def fail(self, *faults: ApiFault) -> None:
        """Have the next requests fail, each with a fault of its own, in that order."""
        self._faults.extend(faults)

    def release(self) -> None:
        """Let every answer go on that is silent or held."""
        self._released.set()

    async def asked(self, count: int) -> None:
        """Return once there were ``count`` requests."""
        async with asyncio.timeout(_START_TIMEOUT), self._moved:
            await self._moved.wait_for(lambda: len(self.requests) >= count)

    async def abandoned(self, count: int) -> None:
        """Return once ``count`` answers were left by their clients."""
        async with asyncio.timeout(_START_TIMEOUT), self._moved:
            await self._moved.wait_for(lambda: self.left >= count)

    async def __aenter__(self) -> Self:
        """Listen on a free port of the local machine."""
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        self._running = asyncio.create_task(self._server.serve(sockets=[listening]))
        async with asyncio.timeout(_START_TIMEOUT):
            await self._server.ready.wait()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop; what is held goes on, what is open is cut."""
        self.release()
        self._server.stop()
        if self._running is not None:
            await self._running

    # --- answering ---

    async def _serve(self, request: Request) -> _Reply:
        asked = await _read(request)
        fault = self._faults.popleft() if self._faults else ApiFault()
        self.requests.append(asked)
        await self._tell()
        reply = _Reply(fault, partial(self._hold, request.receive))
        refusal = self._refusal(asked, fault)
        if refusal is not None:
            reply.answer = refusal
        elif asked.path.endswith("/speech"):
            reply.content_type, reply.pieces = "audio/pcm", self._speech(asked)
        elif asked.path.endswith("/transcriptions"):
            reply.content_type, reply.pieces = "application/json", self._transcription(asked)
        else:
            reply.content_type, reply.pieces = "text/event-stream", self._completion(asked)
        return reply

    def _refusal(self, asked: ApiRequest, fault: ApiFault) -> JSONResponse | None:
        key = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if fault.status != 200:
            return _error(fault.status, fault.message, fault.headers)
        if self.api_key and key != self.api_key:
            return _error(401, f"Incorrect API key provided: {key}")
        model = asked.fields.get("model")
        if model not in self.models:
            return _error(404, f"The model `{model}` does not exist")
        return None

    def _speech(self, asked: ApiRequest) -> list[bytes]:
        if self.audio is not None:
            return [self.audio]
        tone = bytes((index * 4) % 256 for index in range(_PIECE))
        return [tone for letter in str(asked.fields.get("input", "")) if letter.isalpha()]

    def _transcription(self, asked: ApiRequest) -> list[bytes]:
        verbose = asked.fields.get("response_format") == "verbose_json"
        answer = self.transcript if verbose else {"text": self.transcript["text"]}
        return [orjson.dumps(answer)]

    def _completion(self, asked: ApiRequest) -> list[bytes]:
        pieces = self.chat
        if pieces is None:
            words = str(asked.fields["messages"][-1]["content"]).split()
            pieces = [f" {word}" if index else word for index, word in enumerate(words)]
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": piece} for piece in pieces]
        chunks = [_chunk(asked, delta, None) for delta in deltas]
        return [*chunks, _chunk(asked, {}, "stop"), b"data: [DONE]\n\n"]

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def _hold(self, receive: Receive) -> bool:
        """Wait until ``release`` or until the client leaves; return whether it did."""
        released = asyncio.ensure_future(self._released.wait())
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait([released, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (released, gone):
                waiting.cancel()
            await asyncio.gather(released, gone, return_exceptions=True)
        if not gone.cancelled():
            self.left += 1
            await self._tell()
        return not gone.cancelled()


class _Reply:
    """One answer, as ASGI has it: well, or with its fault.

    ``hold`` waits, and returns whether the client left in the meantime.
    """

    def __init__(self, fault: ApiFault, hold: Callable[[], Awaitable[bool]]) -> None:
        self.answer: JSONResponse | None = None
        self.content_type = ""
        self.pieces: list[bytes] = []
        self._fault = fault
        self._hold = hold

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if self._fault.silent and await self._hold():
            return
        if self.answer is not None:
            await self.answer(scope, receive, send)
            return
        headers = {"content-type": self.content_type, **self._fault.headers}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        async for piece in self._body():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _body(self) -> AsyncIterator[bytes]:
        fault = self._fault
        body = self.pieces if fault.body is None else [fault.body]
        sent = 0
        for piece in [*_cut_at(body, fault), b""]:
            if sent == fault.cut_after:
                raise _Cut
            if sent == fault.hold_after and await self._hold():
                return
            if piece:
                yield piece
            sent += len(piece)
            if fault.interval:
                await asyncio.sleep(fault.interval)


def _cut_at(pieces: Sequence[bytes], fault: ApiFault) -> list[bytes]:
    """Return the pieces cut where the fault strikes, so that it strikes between two of them."""
    whole = b"".join(pieces)
    marks = {0, len(whole), *accumulate(map(len, pieces))}
    if fault.piece_bytes is not None:
        marks = {*range(0, len(whole), fault.piece_bytes), len(whole)}
    strikes = {mark for mark in (fault.hold_after, fault.cut_after) if mark is not None}
    cuts = sorted(marks | {mark for mark in strikes if mark < len(whole)})
    return [whole[start:end] for start, end in pairwise(cuts)]


class _Cut(Exception):
    """Ends an answer in the middle: the server then closes the connection."""


class _Server(uvicorn.Server):
    """uvicorn beside a test: it tells when it serves, and leaves the signals alone."""

    def __init__(self, app: Starlette) -> None:
        async def cutting(scope: Scope, receive: Receive, send: Send) -> None:
            # Left to the server, a cut on purpose would stand in the log as an accident.
            with contextlib.suppress(_Cut):
                await app(scope, receive, send)

        config = uvicorn.Config(cutting, lifespan="off", log_config=None, log_level="critical")
        super().__init__(config)
        self.ready = asyncio.Event()
        self._stopping = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    def stop(self) -> None:
        """Serve no longer, whoever is still connected."""
        self.should_exit = self.force_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
            if connection.transport is not None:
                connection.transport.abort()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request) -> ApiRequest:
    body = await request.body()
    path, headers = request.url.path, dict(request.headers)
    client = ("", 0) if request.client is None else (request.client.host, request.client.port)
    declared = headers.get("content-type", "")
    if not declared.startswith("multipart/form-data"):
        return ApiRequest(path, headers, orjson.loads(body), client=client)
    form = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + declared.encode() + b"\r\n\r\n" + body
    )
    fields: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    for part in form.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes):
            continue  # parts within parts: no form has those
        if part.get_filename() is None:
            fields[name] = content.decode()
        else:
            files[name] = content
    return ApiRequest(path, headers, fields, files, client)


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        {"error": {"message": message, "type": "test"}}, status, dict(headers or {})
    )


def _chunk(asked: ApiRequest, delta: Mapping[str, Any], reason: str | None) -> bytes:
    chunk = {
        "id": "chatcmpl-test",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": asked.fields["model"],
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
    }
    return b"data: %b\n\n" % orjson.dumps(chunk)
