"""What is no HTTP, or only a part of it: refused in JSON or closed in time, never kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.conftest import Server
from tests.server.raw import TIMEOUT, call, post, read_answer, send
from tests.server.test_bad_requests import resident_kilobytes

PART = {"kind": "text", "text": "fail"}
GARBAGE = {
    "nothing that is known": b"\x00\x01garbage\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    "a length that is no number": b"POST /a2a HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
    "a negative length": b"POST /a2a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /a2a HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length and chunks": (
        b"POST /a2a HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a chunk that is none": (
        b"POST /a2a HTTP/1.1\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    ),
    "a NUL in a header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n",
    "a header without a name": b"GET /healthz HTTP/1.1\r\n: x\r\n\r\n",
    "a tunnel": b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path that is not ASCII": "GET /caf\xe9 HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
}


async def answers(server: Server) -> bool:
    """Whether the next request on a new connection is answered."""
    return (await send(server.port, post(b"", "/healthz", method="GET"))).status == 200


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_is_refused(server: Server, sent: bytes) -> None:
    """What is no HTTP is 400 in JSON, and the connection closes."""
    answer = await send(server.port, sent)
    assert answer.status == 400
    assert answer.headers["connection"] == "close"
    assert answer.json == {"error": "this is no HTTP request that can be read"}
    assert await answers(server)


@asynccontextmanager
async def connected(
    server: Server,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect."""
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            yield reader, writer
        finally:
            writer.close()


FLOODS = {
    "many headers": (b"GET /healthz HTTP/1.1\r\n", b"X-A: 12345678\r\n" * 500),
    "one header": (b"GET /healthz HTTP/1.1\r\nX-A: ", b"x" * 8_000),
    "one path": (b"GET /", b"x" * 8_000),
}


@pytest.mark.parametrize(("begin", "more"), FLOODS.values(), ids=FLOODS)
async def test_a_flood_of_headers_is_refused(server: Server, begin: bytes, more: bytes) -> None:
    """Headers without end are 431 as soon as they are larger than taken, and take no memory."""
    before = resident_kilobytes(server)
    async with connected(server) as (reader, writer):
        writer.write(begin)
        with suppress(ConnectionError):
            while not reader.at_eof() and not reader._buffer:
                writer.write(more)
                await writer.drain()
                await asyncio.sleep(0)
        answer = await read_answer(reader)
    assert answer.status == 431
    assert answer.json == {"error": "the headers have more than 65536 bytes"}
    assert resident_kilobytes(server) - before < 4_000
    assert await answers(server)


async def test_half_a_request(server: Server) -> None:
    """Headers that stop half-way are 408 once the time for a request is over."""
    answer = await send(server.port, b"POST /a2a HTTP/1.1\r\nHost: x\r\n")
    assert answer.status == 408
    assert answer.json == {"error": "the headers of the request did not arrive in time"}


async def test_half_a_second_request(server: Server) -> None:
    """The time of a later request on the same connection is counted from its own beginning."""
    async with connected(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_answer(reader)).status == 200
        writer.write(b"GET /healthz HTTP")
        assert (await read_answer(reader)).status == 408
        assert await reader.read() == b""


async def test_silence(server: Server) -> None:
    """A connection on which nobody says anything is closed without a word."""
    async with connected(server) as (reader, _):
        assert await reader.read() == b""


async def test_a_request_in_single_bytes(server: Server) -> None:
    """A request that comes byte by byte is one like any other."""
    request = post(call("tasks/get", {"id": "t"}))
    async with connected(server) as (reader, writer):
        for byte in request:
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await read_answer(reader)).json["error"]["code"] == -32001


async def test_two_requests_at_once(server: Server) -> None:
    """Requests that are sent without waiting are answered in order."""
    request = post(call("tasks/get", {"id": "t"}, "first"), headers={"Connection": "keep-alive"})
    async with connected(server) as (reader, writer):
        writer.write(request + post(call("tasks/get", {"id": "t"}, "second")))
        assert (await read_answer(reader)).json["id"] == "first"
        assert (await read_answer(reader)).json["id"] == "second"


async def test_a_client_that_says_no_more(server: Server) -> None:
    """A client that has closed its side reads its answer all the same."""
    answer = await send(server.port, post(call("tasks/get", {"id": "t"})), half_close=True)
    assert answer.json["error"]["code"] == -32001


@pytest.mark.parametrize("sent", [b"", b"POST /a2a HTTP/1.1\r\n", post(b"{}")[:-1]])
async def test_clients_that_leave_early(server: Server, sent: bytes) -> None:
    """A client that leaves at any point leaves nothing behind."""
    for _ in range(20):
        async with connected(server) as (_, writer):
            writer.write(sent)
            writer.write_eof()
    assert await answers(server)
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("wanted", ["websocket", "h2c"])
async def test_upgrades_that_are_not_done(server: Server, wanted: str) -> None:
    """A request that asks for another protocol is answered in this one."""
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": wanted, "HTTP2-Settings": "AAM"}
    answer = await send(server.port, post(call("tasks/get", {"id": "t"}), headers=headers))
    assert answer.json["error"]["code"] == -32001
    assert "uvicorn" not in server.log.read_text(encoding="utf-8")


async def test_a_client_that_waits_to_be_asked_for_the_body(server: Server) -> None:
    """``Expect: 100-continue`` is answered before the body is sent."""
    body = call("tasks/get", {"id": "t"})
    async with connected(server) as (reader, writer):
        writer.write(post(body, headers={"Expect": "100-continue"}).removesuffix(body))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await read_answer(reader)).json["error"]["code"] == -32001


PATHS = ["/nothing", "/a2a/", "/agents", "/agents/", "/agents/desk", "//a2a", "/%00", "/../healthz"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["127.0.0.1", "[", "a b", "", "x" * 1_000, 'evil.test/"<script>'])
async def test_paths_that_lead_nowhere(server: Server, path: str, host: str) -> None:
    """An unknown path is 404 in JSON, whatever the host is called."""
    answer = await send(server.port, post(b"{}", path, host=host))
    assert answer.status == 404
    assert list(answer.json) == ["error"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/.well-known/agent-card.json"])
async def test_endpoints_that_are_only_read(server: Server, path: str) -> None:
    """What can only be read refuses a POST with 405, in JSON."""
    answer = await send(server.port, post(b"{}", path))
    assert answer.status == 405
    assert answer.json == {"error": "POST is not taken here"}
    assert "GET" in answer.headers["allow"]


async def test_the_log_is_json(server: Server) -> None:
    """With ``log_format=json`` each line is JSON."""
    params = {"message": {"messageId": "f", "role": "user", "parts": [PART]}}
    await send(server.port, post(call("message/send", params)))
    lines = server.log.read_text(encoding="utf-8").splitlines()
    assert "the secret reason" in "".join(lines)
    assert all("event" in json.loads(line) for line in lines)
