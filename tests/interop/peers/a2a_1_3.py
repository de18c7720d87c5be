"""The client of a2a-sdk 1.3 against an agent: ``a2a_1_3.py URL 1.0|0.3``, JSON lines out.

With 0.3 it is the SDK's own compatibility layer that speaks.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Any

import httpx
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.helpers import new_data_part, new_raw_part, new_text_part, new_url_part
from a2a.types import (
    AgentCard,
    Artifact,
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    Task,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import JSON_RPC_ERROR_CODE_MAP, A2AError
from google.protobuf.json_format import MessageToDict

Shown = dict[str, Any]


def state(value: TaskState) -> str:
    """Return the state by the name that all programs print."""
    return TaskState.Name(value).removeprefix("TASK_STATE_").lower()


def text(parts: Iterable[Part]) -> str:
    """Return the text of the parts."""
    return "".join(part.text for part in parts)


def part(part: Part) -> list[Any]:
    """Return the part as its kind, its value, its name and its type."""
    kind = part.WhichOneof("content")
    value: Any = getattr(part, kind)
    if kind == "raw":
        value = base64.b64encode(value).decode()
    if kind == "data":
        value = MessageToDict(value)
    return [kind, value, part.filename, part.media_type]


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
        "said": text(task.status.message.parts),
        "artifacts": [artifact(item) for item in task.artifacts],
        "history": [
            [Role.Name(item.role).removeprefix("ROLE_").lower(), text(item.parts)]
            for item in task.history
        ],
    }


def event(event: StreamResponse) -> Shown:
    """Return an event of a stream."""
    if event.HasField("task"):
        return task(event.task)
    if event.HasField("status_update"):
        status = event.status_update
        return {
            "kind": "status",
            "id": status.task_id,
            "context": status.context_id,
            "state": state(status.status.state),
            "said": text(status.status.message.parts),
        }
    if event.HasField("artifact_update"):
        chunk = event.artifact_update
        return {
            "kind": "artifact",
            "id": chunk.task_id,
            "context": chunk.context_id,
            "artifact": artifact(chunk.artifact),
            "append": chunk.append,
            "last": chunk.last_chunk,
        }
    return {"kind": "message", "said": text(event.message.parts)}


def saying(*parts: str | Part, task_id: str = "", now: bool = False) -> SendMessageRequest:
    """Return a request that says those parts; ``now`` wants the answer at once."""
    message = Message(
        role=Role.ROLE_USER,
        message_id=str(uuid.uuid4()),
        task_id=task_id,
        parts=[new_text_part(item) if isinstance(item, str) else item for item in parts],
    )
    configuration = SendMessageConfiguration(return_immediately=now)
    return SendMessageRequest(message=message, configuration=configuration)


async def all_of(events: AsyncIterator[StreamResponse]) -> list[Shown]:
    """Return the rest of a stream."""
    return [event(item) async for item in events]


async def code(asked: Awaitable[Any]) -> int | str:
    """Return the code of the error that comes."""
    try:
        answer = await asked
    except A2AError as error:
        return JSON_RPC_ERROR_CODE_MAP.get(type(error), repr(error))
    return f"no error, but {answer}"


def scenario(name: str, /, **seen: Any) -> None:
    """Print what was seen."""
    print(json.dumps({"scenario": name, **seen}), flush=True)  # noqa: T201 - a program prints


class Visit:
    """One client that streams and one that does not, at one agent."""

    def __init__(self, card: AgentCard, http: httpx.AsyncClient) -> None:
        self.streaming = self._client(card, ClientConfig(httpx_client=http))
        self.blocking = self._client(card, ClientConfig(httpx_client=http, streaming=False))

    @staticmethod
    def _client(card: AgentCard, config: ClientConfig) -> Client:
        return ClientFactory(config).create(card)

    async def send(self, *parts: str | Part, **more: Any) -> Task:
        """Say something and return the task."""
        request = saying(*parts, **more)
        async for answer in self.blocking.send_message(request):
            return answer.task
        raise AssertionError("no answer")

    async def begin(self, words: str) -> tuple[list[Shown], AsyncIterator[StreamResponse]]:
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
        interfaces=[
            [item.url, item.protocol_binding, item.protocol_version]
            for item in card.supported_interfaces
        ],
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
    got = await visit.blocking.get_task(GetTaskRequest(id=sent.id))
    short = await visit.blocking.get_task(GetTaskRequest(id=sent.id, history_length=0))
    scenario("send", sent=task(sent), got=task(got), short=task(short))
    shown = await visit.send(
        "show",
        new_data_part({"mesa": 7, "nomes": ["Ana", None], "ok": True}),
        new_raw_part(b"\x00\xffbytes", media_type="application/octet-stream", filename="a.bin"),
        new_url_part("https://example.com/b.png", media_type="image/png", filename="b.png"),
    )
    scenario("parts", task=task(shown))


async def cancels(visit: Visit) -> None:
    """Cancel a task while it streams."""
    seen, rest = await visit.begin(f"hold {uuid.uuid4()}")
    canceled = await visit.blocking.cancel_task(CancelTaskRequest(id=seen[0]["id"]))
    again = await code(visit.blocking.cancel_task(CancelTaskRequest(id=seen[0]["id"])))
    scenario("cancel", events=seen + await all_of(rest), canceled=task(canceled), again=again)


async def subscribes(visit: Visit) -> None:
    """Follow a task that streams to another already, and one that began without a stream."""
    word = str(uuid.uuid4())
    seen, rest = await visit.begin(f"hold {word}")
    joined = visit.streaming.subscribe(SubscribeToTaskRequest(id=seen[0]["id"]))
    others = [event(await anext(joined))]
    await visit.send(f"release {word}")
    scenario("subscribe", first=seen + await all_of(rest), second=others + await all_of(joined))
    word = str(uuid.uuid4())
    begun = await visit.send(f"hold {word}", now=True)
    joined = visit.streaming.subscribe(SubscribeToTaskRequest(id=begun.id))
    others = [event(await anext(joined))]
    await visit.send(f"release {word}")
    scenario("immediate", begun=task(begun), events=others + await all_of(joined))


async def turns(visit: Visit) -> None:
    """Answer the questions of a task, once on streams, once without."""
    rounds: list[list[Shown]] = []
    for words in ("book", "sexta", "quatro"):
        task_id = rounds[0][0]["id"] if rounds else ""
        events = visit.streaming.send_message(saying(words, task_id=task_id))
        rounds.append(await all_of(events))
    asked = await visit.send("book")
    asked_again = await visit.send("sábado", task_id=asked.id)
    done = await visit.send("duas", task_id=asked.id)
    answers = [task(item) for item in (asked, asked_again, done)]
    scenario("turns", rounds=rounds, answers=answers)


async def errors(visit: Visit, version: str) -> None:
    """Ask for what cannot be."""
    done = (await visit.send("pronto")).id
    push = TaskPushNotificationConfig(task_id=done, id="p", url="https://example.com/push")
    blocking = visit.blocking
    codes = {
        "get unknown": await code(blocking.get_task(GetTaskRequest(id="nobody"))),
        "cancel unknown": await code(blocking.cancel_task(CancelTaskRequest(id="nobody"))),
        "cancel finished": await code(blocking.cancel_task(CancelTaskRequest(id=done))),
        "send to unknown": await code(visit.send("oi", task_id="nobody")),
        "send to finished": await code(visit.send("oi", task_id=done)),
        "stream to unknown": await code(
            all_of(visit.streaming.send_message(saying("oi", task_id="nobody")))
        ),
        "subscribe to unknown": await code(
            all_of(visit.streaming.subscribe(SubscribeToTaskRequest(id="nobody")))
        ),
        "push": await code(blocking.create_task_push_notification_config(push)),
    }
    finished = visit.streaming.subscribe(SubscribeToTaskRequest(id=done))
    if version == "1.0":
        codes["list"] = await code(blocking.list_tasks(ListTasksRequest()))
        codes["subscribe to finished"] = await code(all_of(finished))
        scenario("errors", codes=codes)
    else:
        scenario("errors", codes=codes, finished=await all_of(finished))


async def main(url: str, version: str) -> None:
    """Go through all scenarios."""
    async with httpx.AsyncClient(trust_env=False, timeout=10.0) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        cards(card)
        offered = [item for item in card.supported_interfaces if item.protocol_version == version]
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(offered)
        visit = Visit(card, http)
        await streams(visit)
        await sends(visit)
        await cancels(visit)
        await subscribes(visit)
        await turns(visit)
        await errors(visit, version)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
