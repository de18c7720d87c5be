"""Checks of what a server sent back: cheap ones for every answer, a thorough one per server.

`check_stream` and `check_reply` run on each answer under load and only count marks in its bytes.
`check_stream_thoroughly` decodes one whole answer (chunks, SSE, JSON) and compares every text.
"""

import json
from collections.abc import Iterator

from workload import ANSWER_TEXT, CHUNK_MARK, CHUNK_TEXTS, CHUNKS_PER_STREAM


class WrongAnswer(Exception):
    """A server answered something else than what was asked; its figures would mean nothing."""


def check_stream(response: bytes) -> None:
    """Require status 200, one event for each of the text chunks, and the completed state."""
    _require_ok(response)
    events = response.count(b'"artifactUpdate"')
    texts = response.count(CHUNK_MARK)
    if events < CHUNKS_PER_STREAM or texts != CHUNKS_PER_STREAM:
        raise WrongAnswer(_describe(f"{events} chunk events with {texts} texts", response))
    _require_completed(response)


def check_reply(response: bytes) -> None:
    """Require status 200 and the answer's text."""
    _require_ok(response)
    if ANSWER_TEXT.encode() not in response:
        raise WrongAnswer(_describe("a reply without the answer's text", response))


def check_task_reply(response: bytes) -> None:
    """Require status 200, the answer's text, and a task in the completed state."""
    check_reply(response)
    _require_completed(response)


def check_stream_thoroughly(response: bytes) -> None:
    """Decode a whole stream and require every text, in order, then the completed state last."""
    check_stream(response)
    results = [json.loads(data)["result"] for data in _sse_data(_dechunk(response))]
    updates = [result["artifactUpdate"] for result in results if "artifactUpdate" in result]
    texts = [part["text"] for update in updates for part in update["artifact"]["parts"]]
    if [text for text in texts if text] != list(CHUNK_TEXTS):
        raise WrongAnswer(_describe("texts that are not the agent's, in order", response))
    last = results[-1].get("statusUpdate", {})
    if last.get("status", {}).get("state") != "TASK_STATE_COMPLETED":
        raise WrongAnswer(_describe("a last event that is not the completed state", response))


def _require_ok(response: bytes) -> None:
    if not response.startswith(b"HTTP/1.1 200"):
        raise WrongAnswer(_describe("no status 200", response))


def _require_completed(response: bytes) -> None:
    if b'"TASK_STATE_COMPLETED"' not in response:
        raise WrongAnswer(_describe("no completed state", response))


def _describe(problem: str, response: bytes) -> str:
    return f"{problem}; {len(response)} bytes: {response[:600]!r} ... {response[-600:]!r}"


def _dechunk(response: bytes) -> bytes:
    rest = response.partition(b"\r\n\r\n")[2]
    body = bytearray()
    while True:
        size_line, _, rest = rest.partition(b"\r\n")
        size = int(size_line.partition(b";")[0], 16)
        if size == 0:
            return bytes(body)
        body += rest[:size]
        rest = rest[size + 2 :]


def _sse_data(body: bytes) -> Iterator[bytes]:
    for line in body.splitlines():
        if line.startswith(b"data:"):
            yield line.removeprefix(b"data:").strip()
