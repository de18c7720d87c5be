"""What ``palaver call`` prints of ASAP: text for people on two channels, or JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from palaver.protocols.asap.errors import AsapError
from palaver.protocols.asap.messages import (
    Envelope,
    Payload,
    TaskResponse,
    TaskStatus,
    TaskUpdate,
    payload_type_of,
    read_payload,
)

__all__ = ["AsapJson", "AsapText", "AsapTranscript"]

_ENDED_BADLY = frozenset({TaskStatus.FAILED, TaskStatus.REJECTED, TaskStatus.CANCELLED})


class AsapTranscript(Protocol):
    """Takes what comes, in order."""

    def push(self, envelope: Envelope) -> None:
        """Take what came before the answer."""
        ...

    def answer(self, response: TaskResponse) -> None:
        """Take the answer."""
        ...


class AsapJson:
    """One JSON object a line: ``type`` (such as ``TaskUpdate``), and the payload."""

    def push(self, envelope: Envelope) -> None:
        """Print what was pushed, also where it is of no type that is known."""
        kind = envelope.kind or envelope.payload_type
        _print({"type": str(kind), **envelope.payload})

    def answer(self, response: TaskResponse) -> None:
        """Print the answer."""
        _print({"type": str(payload_type_of(response)), **response.wire()})


class AsapText:
    """What the agent puts out goes to standard output, what is said about it to standard error."""

    def push(self, envelope: Envelope) -> None:
        """Say how far the task is."""
        update = _read(envelope)
        if isinstance(update, TaskUpdate) and update.update_type == "progress":
            message = (update.progress or {}).get("message")
            if isinstance(message, str) and message:
                _aside(message)

    def answer(self, response: TaskResponse) -> None:
        """Print the text of the result, or its data where it has none; then what to do about it."""
        result = dict(response.result or {})
        question, error = result.pop("input_request", None), result.pop("error", None)
        text = result.get("text")
        if isinstance(text, str):
            sys.stdout.write(text if text.endswith("\n") or not text else f"{text}\n")
        elif result:
            sys.stdout.write(orjson.dumps(result).decode() + "\n")
        sys.stdout.flush()
        if response.status is TaskStatus.INPUT_REQUIRED:
            _aside(_member(question, "prompt") or "(the agent asks for input)")
            _aside(f"(answer with --task {response.task_id} --wire asap)")
        elif response.status in _ENDED_BADLY:
            _aside(_member(error, "message") or f"({response.status})")


def _read(envelope: Envelope) -> Payload | None:
    try:
        return read_payload(envelope)
    except AsapError:
        return None  # it was no answer, and is of no use here


def _member(value: Any, name: str) -> str:
    found = value.get(name) if isinstance(value, Mapping) else value
    return found if isinstance(found, str) else ""


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()


def _aside(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
