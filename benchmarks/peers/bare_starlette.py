"""Bare Starlette, the ceiling of our own stack: `bare_starlette.py stream --port P`.

It streams ready bytes, one yield per event; or parses a JSON-RPC request and answers with ready
bytes. There is no protocol, no task and no log behind it. The mode `idle-asgi` goes without
Starlette: it is what uvicorn alone needs for an open stream.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from workload import RPC_PATH, ready_reply, ready_stream

EVENTS = ready_stream()
REPLY = orjson.loads(ready_reply())
OPENING_EVENTS = 3


async def _ready_events() -> AsyncIterator[bytes]:
    for event in EVENTS:
        yield event


async def _ready_events_yielding() -> AsyncIterator[bytes]:
    for event in EVENTS:
        yield event
        await asyncio.sleep(0)


async def _opening_then_silence() -> AsyncIterator[bytes]:
    for event in EVENTS[:OPENING_EVENTS]:
        yield event
    await asyncio.Event().wait()


STREAMS = {
    "stream": _ready_events,
    "stream-yielding": _ready_events_yielding,
    "idle": _opening_then_silence,
}


async def _idle_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the opening events in one piece and wait for the client to leave."""
    if scope["path"] != RPC_PATH:
        await PlainTextResponse("ready")(scope, receive, send)
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    body = b"".join(EVENTS[:OPENING_EVENTS])
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await receive()


def app(mode: str) -> ASGIApp:
    """Build the application with one route for `mode`."""

    async def stream(request: Request) -> Response:
        await request.body()
        return StreamingResponse(STREAMS[mode](), media_type="text/event-stream")

    async def reply(request: Request) -> Response:
        asked = orjson.loads(await request.body())
        return Response(orjson.dumps(REPLY | {"id": asked["id"]}), media_type="application/json")

    async def ready(_: Request) -> Response:
        return PlainTextResponse("ready")

    if mode == "idle-asgi":
        return _idle_asgi
    endpoint = stream if mode in STREAMS else reply
    return Starlette(routes=[Route(RPC_PATH, endpoint, methods=["POST"]), Route("/ready", ready)])


def main() -> None:
    """Serve until the process is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=[*STREAMS, "reply", "idle-asgi"])
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    uvicorn.run(
        app(given.mode),
        port=given.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="critical",
    )


if __name__ == "__main__":
    main()
