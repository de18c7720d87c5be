"""Raw servers of ready frames: what WebSocket and HTTP cost without anything said over them.

`echo_frames.py websockets --port P` answers every text frame with the same one, filled up or cut
to the length that a query of its URL asks for (`/?n=LENGTH`); GET /ready says that it serves.
"""

import argparse
import asyncio
import http
from urllib.parse import parse_qs, urlsplit

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response


async def echo(socket: ServerConnection) -> None:
    """Answer each frame with one of the length that was asked for."""
    assert socket.request is not None
    query = parse_qs(urlsplit(socket.request.path).query)
    length = int(query["n"][0]) if "n" in query else None
    async for message in socket:
        if length is None:
            await socket.send(message)
        else:
            await socket.send(message[:length].ljust(length))


def ready(connection: ServerConnection, request: Request) -> Response | None:
    """Answer whether it serves."""
    if request.path == "/ready":
        return connection.respond(http.HTTPStatus.OK, "ready")
    return None


async def run(port: int) -> None:
    """Serve for ever."""
    async with serve(echo, "127.0.0.1", port, process_request=ready, compression=None) as server:
        await server.serve_forever()


def main() -> None:
    """Serve until the process is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["websockets"])
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(given.port))


if __name__ == "__main__":
    main()
