"""Fuzz the decoder of server-sent events and the client's end of a stream.

With atheris installed: ``python fuzz/sse.py [libFuzzer options]``. Without it, or with
``--runs N``: that many random streams, mutated from good ones.
"""

from __future__ import annotations

import sys

import target

from palaver.errors import PeerRefused
from palaver.protocols import sse
from palaver.protocols.a2a.commands import Generation
from palaver.protocols.a2a.errors import InvalidAgentResponse
from palaver.protocols.a2a.mapping import dialect
from palaver.protocols.a2a.stream import ClientStream

SEEDS = [
    b"\n".join(
        (
            b"retry: 500",
            b"id: 1",
            b'data: {"jsonrpc":"2.0","id":1,"result":{"task":{"id":"t","contextId":"c",',
            b'data: "status":{"state":"TASK_STATE_WORKING"}}}}',
            b"",
            b": hb",
            b"id: 2",
            b'data: {"jsonrpc":"2.0","id":1,"result":{"artifactUpdate":{"taskId":"t",',
            b'data: "contextId":"c","artifact":{"artifactId":"a","parts":[{"text":"x"}]}}}}',
            b"\n",
        )
    ),
    b'\xef\xbb\xbfdata: {"result":{"id":"t","status":{"state":"completed"},"final":true}}\r\n\r\n',
    b"\r".join(
        (
            b"event: message",
            b'data: {"result":{"kind":"status-update","taskId":"t","contextId":"c",',
            b'data: "status":{"state":"failed"},"final":true}}',
            b"\r",
        )
    ),
    b'data: {"error":{"code":-32603,"message":"Internal error"}}\n\nretry: 10\n',
]
MAX_EVENT_BYTES = 4096


def check(stream: bytes) -> None:
    """Hold that events depend on the bytes alone, and a client reads or refuses what comes."""
    size = 1 + sum(stream) % 17
    chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
    decoder = sse.Decoder()
    pieced = [event for chunk in chunks for event in decoder.feed(chunk)]
    assert pieced == sse.Decoder().feed(stream)
    for generation in Generation:
        client = ClientStream(dialect(generation), max_event_bytes=MAX_EVENT_BYTES)
        cursor = 0
        try:
            for chunk in chunks:
                for received in client.receive(chunk):
                    assert received.seq is None or received.seq > cursor
                    cursor = received.seq or cursor
        except (PeerRefused, InvalidAgentResponse):
            continue


if __name__ == "__main__":
    sys.exit(target.run(check, SEEDS))
