"""The client of a2a-sdk 0.3 against an agent: ``a2a_0_3.py URL``, JSON lines out."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.client import ClientEvent
from a2a.client.errors import A2AClientHTTPError, A2AClientJSONRPCError
from a2a.types import (
    AgentCard,
    Artifact,
    DataPart,
    FilePart,
    FileWithBytes,
    FileWithUri,
    Message,
    MessageSendConfiguration,
    Part,
    PushNotificationConfig,
    Role,
    Task,
    TaskArtifactUpdateEvent,
    TaskIdParams,
    TaskPushNotificationConfig,
    TaskQueryParams,
    TaskState,
    TextPart,
)

Shown = dict[str, Any]


def state(value: TaskState) -> str:
    """Return the state by the name that all programs print."""
    return value.value.replace("-", "_")


def text(parts: list[Part]) -> str:
    """Return the text of the parts."""
    return "".join(item.root.text for item in parts if isinstance(item.root, TextPart))


def said(message: Message | None) -> str:
    """Return the text of a status's message."""
    return "" if message is None else text(message.parts)


def part(part: Part) -> list[Any]:
    """Return the part as its kind, its value, its name and its type."""
    inner = part.root
    if isinstance(inner, TextPart):
        return ["text", inner.text, "", ""]
    if isinstance(inner, DataPart):
        return ["data", inner.data, "", ""]
    file = inner.file
    kind, value = ("raw", file.bytes) if isinstance(file, FileWithBytes) else ("url", file.uri)
    return [kind, value, file.name or "", file.mime_type or ""]


def artifact(artifact: Artifact) -> Shown:
    """Return an artifact."""
    return {"id": artifact.artifact_id, "parts": [part(item) for item in artifact.parts]}


def task(task: Task) -> Shown:
    """Return a task."""
    return {
        "kind": "task",
        "id": task.id,
        "context": task.context_id,
        "state": state(task.status.state),
        "said": said(task.status.message),
        "artifacts": [artifact(item) for item in task.artifacts or []],
        "history": [[item.role.value, text(item.parts)] for item in task.history or []],
    }


def event(event: ClientEvent | Message) -> Shown:
    """Return an event of a stream."""
    if isinstance(event, Message):
        return {"kind": "message", "said": text(event.parts)}
    whole, update = event
    if update is None:
        return task(whole)
    if isinstance(update, TaskArtifactUpdateEvent):
        return {
            "kind": "artifact",
            "id": update.task_id,
            "context": update.context_id,
            "artifact": artifact(update.artifact),
            "append": bool(update.append),
            "last": bool(update.last_chunk),
        }
    return {
        "kind": "status",
        "id": update.task_id,
        "context": update.context_id,
        "state": state(update.status.state),
        "said": said(update.status.message),
        "final": update.final,
    }


def saying(*parts: str | Part, task_id: str | None = None) -> Message:
    """Return a message that says those parts."""
    return Message(
        role=Role.user,
        message_id=str(uuid.uuid4()),
        task_id=task_id,
        parts=[Part(root=TextPart(text=item)) if isinstance(item, str) else item for item in parts],
    )


async def all_of(events: AsyncIterator[ClientEvent | Message]) -> list[Shown]:
    """Return the rest of a stream."""
    return [event(item) async for item in events]


async def code(asked: Awaitable[Any]) -> int | str:
    """Return the code of the error that comes."""
    try:
        answer = await asked
    except A2AClientJSONRPCError as error:
        return error.error.code
    except A2AClientHTTPError as error:
        return f"HTTP {error.status_code}"
    return f"no error, but {answer}"


def scenario(name: str, /, **seen: Any) -> None:
    """Print what was seen."""
    print(json.dumps({"scenario": name, **seen}), flush=True)  # noqa: T201 - a program prints


class Visit:
    """One client that streams and one that does not, at one agent."""

    def __init__(self, card: AgentCard, http: httpx.AsyncClient) -> None:
        streaming = ClientConfig(httpx_client=http)
        blocking = ClientConfig(httpx_client=http, streaming=False)
        self.streaming = ClientFactory(streaming).create(card)
        self.blocking = ClientFactory(blocking).create(card)

    async def send(self, *parts: str | Part, now: bool = False, **more: Any) -> Task:
        """Say something and return the task; ``now`` wants the answer at once."""
        message = saying(*parts, **more)
        configuration = MessageSendConfiguration(blocking=not now)
        async for answer in self.blocking.send_message(message, configuration=configuration):
            return answer[0]
        raise AssertionError("no answer")

    async def begin(self, words: str) -> tuple[list[Shown], AsyncIterator[ClientEvent]]:
        """Say something and return the stream, read up to its first artifact."""
        events = self.streaming.send_message(saying(words))
        seen: list[Shown] = []
        async for item in events:
            seen.append(event(item))
            if seen[-1]["kind"] == "artifact":
                break
        return seen, events


def cards(card: AgentCard) -> None:
    """Show what the card says."""
    scenario(
        "card",
        name=card.name,
        description=card.description,
        version=card.version,
        skills=[[skill.id, skill.description] for skill in card.skills],
        streaming=card.capabilities.streaming,
        interfaces=[[card.url, card.preferred_transport, card.protocol_version]],
    )


async def streams(visit: Visit) -> None:
    """Stream, to each of the ends that a task can come to."""
    for name, words in (
        ("stream", "Olá, como posso ajudar? 🙂"),
        ("failure", "fail"),
        ("refusal", "refuse"),
    ):
        scenario(name, events=await all_of(visit.streaming.send_message(saying(words))))


async def sends(visit: Visit) -> None:
    """Send without a stream, then ask again."""
    sent = await visit.send("um dois três")
    got = await visit.blocking.get_task(TaskQueryParams(id=sent.id))
    short = await visit.blocking.get_task(TaskQueryParams(id=sent.id, history_length=0))
    scenario("send", sent=task(sent), got=task(got), short=task(short))
    raw = FileWithBytes(bytes="AP9ieXRlcw==", mime_type="application/octet-stream", name="a.bin")
    url = FileWithUri(uri="https://example.com/b.png", mime_type="image/png", name="b.png")
    shown = await visit.send(
        "show",
        Part(root=DataPart(data={"mesa": 7, "nomes": ["Ana", None], "ok": True})),
        Part(root=FilePart(file=raw)),
        Part(root=FilePart(file=url)),
    )
    scenario("parts", task=task(shown))


async def cancels(visit: Visit) -> None:
    """Cancel a task while it streams."""
    seen, rest = await visit.begin(f"hold {uuid.uuid4()}")
    canceled = await visit.blocking.cancel_task(TaskIdParams(id=seen[0]["id"]))
    again = await code(visit.blocking.cancel_task(TaskIdParams(id=seen[0]["id"])))
    scenario("cancel", events=seen + await all_of(rest), canceled=task(canceled), again=again)


async def subscribes(visit: Visit) -> None:
    """Follow a task that streams to another already, and one that began without a stream."""
    word = str(uuid.uuid4())
    seen, rest = await visit.begin(f"hold {word}")
    joined = visit.streaming.resubscribe(TaskIdParams(id=seen[0]["id"]))
    others = [event(await anext(joined))]
    await visit.send(f"release {word}")
    scenario("subscribe", first=seen + await all_of(rest), second=others + await all_of(joined))
    word = str(uuid.uuid4())
    begun = await visit.send(f"hold {word}", now=True)
    joined = visit.streaming.resubscribe(TaskIdParams(id=begun.id))
    others = [event(await anext(joined))]
    await visit.send(f"release {word}")
    scenario("immediate", begun=task(begun), events=others + await all_of(joined))


async def turns(visit: Visit) -> None:
    """Answer the questions of a task, once on streams, once without."""
    rounds: list[list[Shown]] = []
    for words in ("book", "sexta", "quatro"):
        task_id = rounds[0][0]["id"] if rounds else None
        events = visit.streaming.send_message(saying(words, task_id=task_id))
        rounds.append(await all_of(events))
    asked = await visit.send("book")
    asked_again = await visit.send("sábado", task_id=asked.id)
    done = await visit.send("duas", task_id=asked.id)
    answers = [task(item) for item in (asked, asked_again, done)]
    scenario("turns", rounds=rounds, answers=answers)


async def errors(visit: Visit) -> None:
    """Ask for what cannot be."""
    done = (await visit.send("pronto")).id
    config = PushNotificationConfig(url="https://example.com/push")
    push = TaskPushNotificationConfig(task_id=done, push_notification_config=config)
    blocking = visit.blocking
    codes = {
        "get unknown": await code(blocking.get_task(TaskQueryParams(id="nobody"))),
        "cancel unknown": await code(blocking.cancel_task(TaskIdParams(id="nobody"))),
        "cancel finished": await code(blocking.cancel_task(TaskIdParams(id=done))),
        "send to unknown": await code(visit.send("oi", task_id="nobody")),
        "send to finished": await code(visit.send("oi", task_id=done)),
        "stream to unknown": await code(
            all_of(visit.streaming.send_message(saying("oi", task_id="nobody")))
        ),
        "subscribe to unknown": await code(
            all_of(visit.streaming.resubscribe(TaskIdParams(id="nobody")))
        ),
        "push": await code(blocking.set_task_callback(push)),
    }
    finished = visit.streaming.resubscribe(TaskIdParams(id=done))
    scenario("errors", codes=codes, finished=await all_of(finished))


async def main(url: str, _version: str) -> None:
    """Go through all scenarios."""
    async with httpx.AsyncClient(trust_env=False, timeout=10.0) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        cards(card)
        visit = Visit(card, http)
        await streams(visit)
        await sends(visit)
        await cancels(visit)
        await subscribes(visit)
        await turns(visit)
        await errors(visit)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
