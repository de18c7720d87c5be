"""``palaver call`` over ASAP: a request, the news of its task, and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from palaver.cli.asap_transcript import AsapTranscript
from palaver.cli.exits import Exit
from palaver.client.asap import AsapClient, AsapSettings, Transport
from palaver.client.asap_errors import AsapRefused, AsapUnreachable
from palaver.client.asp_dial import shown
from palaver.client.transport import Patience
from palaver.engine.clock import new_id
from palaver.errors import PeerError
from palaver.protocols.asap.errors import AsapError
from palaver.protocols.asap.manifest import Manifest
from palaver.protocols.asap.messages import (
    Envelope,
    TaskConfig,
    TaskResponse,
    TaskStatus,
    TaskUpdate,
    read_payload,
)

__all__ = ["Saying", "converse", "routed"]

_ANSWERED_WITHIN: Final = 60.0
"""Seconds: servers answer earlier, with a task that goes on where it is not done by then."""
_TRIES: Final = 1000
"""More than fit into any patience, which is what bounds them."""
_NOT_FOUND: Final = 404
_OPEN: Final = frozenset({TaskStatus.SUBMITTED, TaskStatus.WORKING, TaskStatus.PAUSED})
_FAILED: Final = frozenset({TaskStatus.FAILED, TaskStatus.REJECTED, TaskStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class Saying:
    """What to say: in a task that asked, or to begin one."""

    text: str
    task_id: str | None = None
    conversation_id: str | None = None


async def converse(
    url: str,
    transport: Transport,
    saying: Saying,
    give_up_after: float,
    transcript: AsapTranscript,
    prompt: Callable[[], Awaitable[str]] | None = None,
) -> Exit:
    """Say something to the agent at ``url``, until it is answered; return how that ended.

    ``prompt`` is who answers what the agent asks; without one, its question is the answer.

    Raises:
        PeerError: the agent cannot be reached, or refuses.

    """
    patience = Patience(connect_timeout=10, silence_timeout=50, give_up_after=give_up_after)
    news = _News(transcript)
    client = AsapClient(
        url,
        transport=transport,
        on_message=news.take,
        insecure=True,  # whoever writes http:// means it; nothing goes along that is secret
        settings=AsapSettings(patience=patience, attempts=_TRIES),
    )
    try:
        async with client:
            conversation = _Conversation(client, news, give_up_after)
            while True:
                response = await conversation.say(saying)
                transcript.answer(response)
                if response.status is not TaskStatus.INPUT_REQUIRED:
                    return Exit.FAILED if response.status in _FAILED else Exit.DONE
                if prompt is None:
                    return Exit.INPUT_REQUIRED
                saying = Saying(await prompt(), response.task_id)
    except AsapRefused as refused:
        if refused.code != _NOT_FOUND:
            raise
        raise PeerError(f"{refused}; {_elsewhere(url)}") from None


def _elsewhere(url: str) -> str:
    """Return what to write in place of an address at which there is no ASAP."""
    parts = urlsplit(shown(url) if "://" in url else f"http://{shown(url)}")
    if parts.path.rstrip("/").endswith("/asp"):
        return f"calls are taken there: palaver talk {shown(url)} FILE.wav; leave /asp out for text"
    secure = "s" if parts.scheme in {"https", "wss"} else ""
    return f"write http{secure}://HOST:PORT, or ws{secure}://HOST:PORT/asap/ws"


def routed(manifest: Manifest, text: str) -> tuple[str, str]:
    """Return the skill for ``text``, and what is left to say to it.

    It is the skill that the first word names; else the first one of the manifest, with all of it.

    Raises:
        PeerError: the agent has no skills.

    """
    skills = [skill.id for skill in manifest.capabilities.skills]
    if not skills:
        raise PeerError(f"{manifest.id} says of itself that it has no skills")
    first, _, rest = text.lstrip().partition(" ")
    return (first, rest.strip()) if first in skills else (skills[0], text)


class _News:
    """What is pushed: it is shown, and wakes who waits for the end of the task."""

    def __init__(self, transcript: AsapTranscript) -> None:
        self._transcript = transcript
        self.settled = asyncio.Event()

    def take(self, envelope: Envelope) -> None:
        self._transcript.push(envelope)
        try:
            update = read_payload(envelope)
        except AsapError:
            return
        if isinstance(update, TaskUpdate) and update.status not in _OPEN:
            self.settled.set()


class _Conversation:
    def __init__(self, client: AsapClient, news: _News, give_up_after: float) -> None:
        self._client = client
        self._news = news
        self._give_up_after = give_up_after
        self._timeout = max(_ANSWERED_WITHIN, give_up_after)

    async def say(self, saying: Saying) -> TaskResponse:
        """Return how the task stands once it is settled."""
        client, self._news.settled = self._client, asyncio.Event()
        if saying.task_id is not None:
            response = await client.answer(saying.task_id, saying.text, timeout=self._timeout)
        else:
            skill_id, text = routed(await client.manifest(), saying.text)
            config = TaskConfig(streaming=True) if client.transport == "websocket" else None
            response = await client.request_task(
                skill_id,
                {"text": text},
                conversation_id=saying.conversation_id or new_id("conv"),
                config=config,
                timeout=self._timeout,
            )
        if response.status in _OPEN:
            response = await self._follow(response.task_id)
        return response

    async def _follow(self, task_id: str) -> TaskResponse:
        """Ask how a task stands until it is settled, ever less often; return what it made."""
        loop = asyncio.get_running_loop()
        patience = Patience(first_delay=0.25, max_delay=5.0)
        asked, heard_at = 0, loop.time()
        while True:
            asked += 1
            try:
                async with asyncio.timeout(patience.delay(asked)):
                    await self._news.settled.wait()
                self._news.settled.clear()
            except TimeoutError:
                pass
            try:
                response = await self._client.state(task_id, timeout=self._timeout)
            except AsapUnreachable:
                if loop.time() - heard_at > self._give_up_after:
                    raise
                continue
            heard_at = loop.time()
            if response.status not in _OPEN:
                return _made(response)


def _made(response: TaskResponse) -> TaskResponse:
    """Return the answer to a query for state as one to the request: with what the task made."""
    data: Any = (response.final_state or {}).get("data")
    result = data.get("result") if isinstance(data, dict) else None
    if response.result is not None or not isinstance(result, dict):
        return response
    return response.model_copy(update={"result": result, "final_state": None})
