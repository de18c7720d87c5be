"""Language models behind ``/chat/completions``, streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import orjson

from palaver.providers.interfaces import ChatMessage
from palaver.providers.openai_endpoint import Answer, OpenAiEndpoint
from palaver.providers.openai_errors import error_message, without_key
from palaver.providers.openai_options import OpenAiOptions

__all__ = ["OpenAiChat"]

_DONE: Final = "[DONE]"
_EVENTS: Final = "text/event-stream"


class OpenAiChat:
    """A ``ChatModel``: any server that speaks the OpenAI API for chat completions.

    Args:
        options: Where it is, which model, and the bounds.
        extra: Further members of each request, such as ``{"temperature": 0.2}``.

    """

    def __init__(
        self, options: OpenAiOptions, *, extra: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self._endpoint = OpenAiEndpoint(options)
        self._extra = dict(extra)

    async def stream(self, messages: Sequence[ChatMessage]) -> AsyncGenerator[str, None]:
        """Yield the answer to ``messages`` piece by piece, as it comes.

        Raises:
            ProviderError: the endpoint cannot be reached, refuses, fails, takes too long, breaks
                off, or answers what is no stream of chat completions.

        """
        said = [{"role": message.role, "content": message.text} for message in messages]
        options = self._endpoint.options
        body = self._extra | {"model": options.model, "messages": said, "stream": True}
        async with self._endpoint.post("/chat/completions", _EVENTS, json=body) as answer:
            if answer.content_type != _EVENTS:
                raise await answer.instead("a stream of events")
            ended = finished = False
            async for data in answer.events():
                if data.strip() == _DONE:
                    ended = True
                    answer.complete()
                elif not ended:
                    text, reason = _read(data, answer, options.api_key)
                    if text:
                        yield text
                    if reason is not None:  # some never say [DONE]
                        finished = True
                        answer.complete()
            if not (ended or finished):
                raise answer.fails("broke off in the middle of its answer")

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()


def _read(data: str, answer: Answer, api_key: str) -> tuple[str, str | None]:
    """Return the text of one chunk, and the reason why the answer ends with it, if it does."""
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise answer.fails("streamed what is no JSON") from None
    if not isinstance(chunk, dict):
        raise answer.fails("streamed what is no chunk of a chat completion")
    if chunk.get("error"):
        said = without_key(error_message(data.encode()), api_key)
        raise answer.fails(f"failed: {said or 'without saying why'}")
    choices = chunk.get("choices")
    if not choices:  # counts of tokens, at the end; or a sign of life
        return "", None
    try:
        choice = choices[0]
        text = choice["delta"].get("content") or ""
        reason = choice.get("finish_reason")
    except (TypeError, KeyError, AttributeError, IndexError):
        raise answer.fails("streamed what is no chunk of a chat completion") from None
    if not isinstance(text, str) or not isinstance(reason, str | None):
        raise answer.fails("streamed what is no chunk of a chat completion")
    if reason == "content_filter":
        raise answer.fails("stopped its answer: its filter of contents struck")
    return text, reason or None
