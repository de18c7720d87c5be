"""What every benchmarked server is asked and has to answer: the same texts, the same requests.

A stream answers with `CHUNK_TEXTS`, one text chunk each, between a task, a "working" status and
a "completed" status. A send answers with `ANSWER_TEXT`. Request bytes are built once; only the
message id, which has a fixed width, changes from request to request.
"""

import itertools
import json
import os
import time
from collections.abc import Iterator

CHUNKS_PER_STREAM = 100
CHUNK_TEXTS = tuple(f"chunk {number:03d} of the answer " for number in range(CHUNKS_PER_STREAM))
CHUNK_MARK = b" of the answer "
ANSWER_TEXT = "a short answer"
PROMPT = "go"
RPC_PATH = "/a2a"

_MESSAGE_ID_DIGITS = 24
_message_numbers = itertools.count(time.time_ns() * 1000 + os.getpid() % 1000)


def requests(method: str) -> Iterator[bytes]:
    """Endless HTTP requests that call `method` over JSON-RPC, each with a message id of its own."""
    mark = "0" * _MESSAGE_ID_DIGITS
    message = {"messageId": mark, "role": "ROLE_USER", "parts": [{"text": PROMPT}]}
    body = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}},
        separators=(",", ":"),
    )
    head = (
        f"POST {RPC_PATH} HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        "Content-Type: application/json\r\n"
        "Accept: application/json, text/event-stream\r\n"
        "A2A-Version: 1.0\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    before, after = (head + body).encode().split(mark.encode())
    while True:
        yield b"%s%0*d%s" % (before, _MESSAGE_ID_DIGITS, next(_message_numbers), after)


_TASK_ID = "01JD2M6Z7R3W8Q5T9V1X4Y0B2C"
_CONTEXT_ID = "01JD2M6Z7R3W8Q5T9V1X4Y0B2D"
_TIMESTAMP = "2026-11-21T12:00:00.000Z"


def _status(state: str) -> dict[str, object]:
    return {"state": state, "timestamp": _TIMESTAMP}


def _stream_results() -> Iterator[dict[str, object]]:
    message = {
        "messageId": "0" * _MESSAGE_ID_DIGITS,
        "role": "ROLE_USER",
        "parts": [{"text": "go"}],
    }
    ids = {"taskId": _TASK_ID, "contextId": _CONTEXT_ID}
    yield {
        "task": {
            "id": _TASK_ID,
            "contextId": _CONTEXT_ID,
            "status": _status("TASK_STATE_SUBMITTED"),
            "history": [message],
        }
    }
    yield {"statusUpdate": ids | {"status": _status("TASK_STATE_WORKING")}}
    for number, text in enumerate(CHUNK_TEXTS):
        artifact = {"artifactId": "answer", "parts": [{"text": text}]}
        yield {"artifactUpdate": ids | {"artifact": artifact, "append": number > 0}}
    yield {"statusUpdate": ids | {"status": _status("TASK_STATE_COMPLETED")}}


def ready_stream() -> list[bytes]:
    """Return the SSE blocks of one whole stream, as bytes that wait to be sent."""
    return [
        b"id: %d\ndata: %s\n\n" % (number, _rpc_response(result))
        for number, result in enumerate(_stream_results(), start=1)
    ]


def ready_reply() -> bytes:
    """Return the JSON-RPC response to one send, as bytes that wait to be sent."""
    task = {
        "id": _TASK_ID,
        "contextId": _CONTEXT_ID,
        "status": _status("TASK_STATE_COMPLETED"),
        "artifacts": [{"artifactId": "answer", "parts": [{"text": ANSWER_TEXT}]}],
    }
    return _rpc_response({"task": task})


def _rpc_response(result: dict[str, object]) -> bytes:
    response = {"jsonrpc": "2.0", "id": 1, "result": result}
    return json.dumps(response, separators=(",", ":")).encode()
