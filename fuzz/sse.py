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
    (
        b'retry: 500\nid: 1\ndata: {"jsonrpc":"2.0","id":1,"result":{"task":{"id":"t","contextId":"c",'
        b'"status":{"state":"TASK_STATE_WORKING"}}}}\n\n: hb\nid: 2\ndata: {"jsonrpc":"2.0","id":1,'
        b'"result":{"artifactUpdate":{"taskId":"t","contextId":"c","artifact":{"artifactId":"a",'
        b'"parts":[{"text":"x"}]}}}}\n\n'
    ),
    (
        b'\xef\xbb\xbfdata: {"jsonrpc":"2.0","id":1,"result":{"id":"t","status":{"state":"completed"},'
        b'"final":true}}\r\n\r\n'
    ),
    (
        b'event: message\rdata: {"result":\rdata: {"kind":"status-update","taskId":"t","contextId":"c",'
        b'"status":{"state":"failed"},"final":true}}\r\r'
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
