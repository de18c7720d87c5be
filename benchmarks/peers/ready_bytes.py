"""A server without HTTP: it answers every packet with ready bytes in one write.

`ready_bytes.py stream --port P`. It shows how fast the load client can be: no HTTP server
in Python gets near it, so a figure far below it is the measured server's and not the client's.
"""

import argparse
import asyncio
from typing import cast

import uvloop
from workload import ready_reply, ready_stream

READY = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nready"


def stream_response() -> bytes:
    """Return a whole streamed answer, chunked, one chunk per event."""
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    chunks = (b"%x\r\n%s\r\n" % (len(event), event) for event in ready_stream())
    return head + b"".join(chunks) + b"0\r\n\r\n"


def reply_response() -> bytes:
    """Return a whole single answer."""
    body = ready_reply()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


class ReadyBytes(asyncio.Protocol):
    """Answers a POST with `response`, anything else with `READY`; a request fits a packet."""

    def __init__(self, response: bytes) -> None:
        self._response = response
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer at once."""
        self._transport.write(self._response if data.startswith(b"POST") else READY)


async def serve(response: bytes, port: int) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ReadyBytes(response), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Serve until the process is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["stream", "stream-yielding", "reply"])
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    response = reply_response() if given.mode == "reply" else stream_response()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(response, given.port))


if __name__ == "__main__":
    main()
