"""One live end of ASAP on a WebSocket, and its peer as raw as a test wants it."""

from __future__ import annotations

from itertools import count
from typing import Any, Final

import orjson

from palaver.protocols.asap.client_connection import ClientConnection
from palaver.protocols.asap.deliveries import Deliveries
from palaver.protocols.asap.events import ClientEvent, Close, ServerEvent
from palaver.protocols.asap.in_flight import Caller
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import Envelope, moment
from palaver.protocols.asap.server_connection import ServerConnection
from palaver.testing.asap_pair import CLIENT, SERVER

__all__ = ["NOW", "RawClient", "RawServer", "ask", "envelope", "reply_to"]

NOW: Final = 1_800_000_000.0

_TASK: Final = {"conversation_id": "c", "skill_id": "echo", "input": {}}


def envelope(envelope_id: str, kind: str = "TaskRequest", **members: Any) -> Envelope:
    """Return an envelope of the client."""
    return Envelope(
        id=envelope_id,
        timestamp=moment(NOW),
        payload_type=kind,
        **{
            "asap_version": "0.1",
            "sender": CLIENT,
            "recipient": SERVER,
            "payload": _TASK,
            **members,
        },
    )


def reply_to(request: Envelope, reply_id: str = "reply", **members: Any) -> Envelope:
    """Return an envelope of the server that answers."""
    return Envelope(
        id=reply_id,
        asap_version="0.1",
        timestamp=moment(NOW),
        sender=request.recipient,
        recipient=request.sender,
        **{
            "payload_type": "TaskResponse",
            "payload": {"task_id": "t", "status": "completed"},
            "correlation_id": request.id,
            **members,
        },
    )


def ask(request_id: str | int, envelope_id: str, kind: str = "TaskRequest", **members: Any) -> str:
    """Return the frame of a request."""
    said = envelope(envelope_id, kind, **members).wire()
    params = {"envelope": said}
    frame = {"jsonrpc": "2.0", "method": "asap.send", "params": params, "id": request_id}
    return orjson.dumps(frame).decode()


class _Raw:
    """What both have in common: ids that count, time that a test moves."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self.now = NOW
        self.close: Close | None = None

    def new_id(self, prefix: str) -> str:
        """Return the next id."""
        return f"{prefix}_{next(self._numbers)}"

    def _frames(self, outputs: list[str | Close]) -> list[dict[str, Any]]:
        frames = []
        for output in outputs:
            assert self.close is None
            if isinstance(output, Close):
                self.close = output
            else:
                frames.append(orjson.loads(output))
        return frames


class RawClient(_Raw):
    """A client that sends whatever it likes to a live server."""

    def __init__(
        self, caller: Caller | None = None, deliveries: Deliveries | None = None, **limits: Any
    ) -> None:
        super().__init__()
        self.woken = 0
        self.server = ServerConnection(
            Limits(**limits),
            self.now,
            new_id=self.new_id,
            caller=caller,
            deliveries=deliveries,
            on_output=self._wake,
        )

    def _wake(self) -> None:
        self.woken += 1

    def say(self, frame: str | dict[str, Any]) -> list[ServerEvent]:
        """Send a frame; return what the server's application is told."""
        text = frame if isinstance(frame, str) else orjson.dumps(frame).decode()
        return self.server.receive_text(text, self.now)

    def heard(self) -> list[dict[str, Any]]:
        """Return the frames that the server sent; what closed it stands in ``close``."""
        return self._frames(self.server.take_output())

    def wait(self, seconds: float) -> list[ServerEvent]:
        """Let time go by."""
        self.now += seconds
        return self.server.handle_timeout(self.now)


class RawServer(_Raw):
    """A server that sends whatever it likes to a live client."""

    def __init__(self, *, attached: bool = True, **limits: Any) -> None:
        super().__init__()
        self.client = ClientConnection(Limits(**limits), new_id=self.new_id)
        if attached:
            self.client.connected(self.now)

    def say(self, frame: str | dict[str, Any]) -> list[ClientEvent]:
        """Send a frame; return what the client's application is told."""
        text = frame if isinstance(frame, str) else orjson.dumps(frame).decode()
        return self.client.receive_text(text, self.now)

    def reply(self, wire_id: str | int | None, said: Envelope) -> list[ClientEvent]:
        """Send a reply, or without an id a push."""
        return self.say({"jsonrpc": "2.0", "id": wire_id, "result": {"envelope": said.wire()}})

    def ack(self, request: Envelope, status: str, error: str | None = None) -> list[ClientEvent]:
        """Acknowledge an envelope."""
        payload = {"original_envelope_id": request.id, "status": status, "error": error}
        said = reply_to(
            request, "ack", payload_type="MessageAck", payload=payload, correlation_id=None
        )
        params = {"envelope": said.wire()}
        return self.say({"jsonrpc": "2.0", "method": "asap.ack", "params": params})

    def heard(self) -> list[dict[str, Any]]:
        """Return the frames that the client sent; what closed it stands in ``close``."""
        return self._frames(self.client.take_output())

    def wait(self, seconds: float) -> list[ClientEvent]:
        """Let time go by."""
        self.now += seconds
        return self.client.handle_timeout(self.now)
