"""A server of a2a-sdk 0.3. It prints its address and serves until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict

import uvicorn
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.apps import A2AStarletteApplication
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentSkill, DataPart, Part, TextPart
from a2a.utils import new_agent_text_message, new_task


def text(words: str) -> list[Part]:
    """Return the words as parts."""
    return [Part(root=TextPart(text=words))]


class Executor(AgentExecutor):
    """Says words again; holds until it is released; asks; answers without a task; fails."""

    def __init__(self) -> None:
        self._gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Do what the first word says."""
        assert context.message is not None
        said = context.get_user_input()
        word, _, rest = said.partition(" ")
        if word == "hello":
            await event_queue.enqueue_event(new_agent_text_message("Hello, without a task"))
            return
        if context.current_task is None:
            await event_queue.enqueue_event(new_task(context.message))
        updater = TaskUpdater(event_queue, context.task_id or "", context.context_id or "")
        await updater.start_work()
        if word == "ask":
            question = updater.new_agent_message(text("Which day?"))
            await updater.requires_input(question, final=True)
        elif word == "fail":
            await updater.failed(updater.new_agent_message(text("It broke")))
        else:
            await self._answer(updater, word, rest, said)
            await updater.complete()

    async def _answer(self, updater: TaskUpdater, word: str, rest: str, said: str) -> None:
        if word == "release":
            self._gates[rest].set()
        elif word == "hold":
            await updater.add_artifact(text("held"), "answer")
            await self._gates[rest].wait()
            await updater.add_artifact(text(" and released"), "answer", append=True)
            await updater.add_artifact([Part(root=DataPart(data={"n": 7}))], "facts", name="facts")
        else:
            for number, token in enumerate(said.split()):
                part = text(f" {token}" if number else token)
                await updater.add_artifact(part, "answer", append=number > 0)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel."""
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


def card(url: str) -> AgentCard:
    """Return the agent's card."""
    return AgentCard(
        name="Foreign",
        description="An agent of another house",
        version="3.2.1",
        url=f"{url}/",
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="say", name="say", description="Says it again", tags=["text"])],
    )


def main() -> None:
    """Serve on a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    handler = DefaultRequestHandler(agent_executor=Executor(), task_store=InMemoryTaskStore())
    app = A2AStarletteApplication(agent_card=card(url), http_handler=handler).build()
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    print(url, flush=True)  # noqa: T201 - a program prints
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
