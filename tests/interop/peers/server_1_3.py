"""A server of a2a-sdk 1.3, at 1.0 and, through its compatibility layer, at 0.3.

It prints its address and serves until it is told to stop.
"""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict

import uvicorn
from a2a.helpers import new_data_part, new_task_from_user_message, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette


class Executor(AgentExecutor):
    """Says words again; holds until it is released; asks; answers without a task; fails."""

    def __init__(self) -> None:
        self._gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Do what the first word says."""
        assert context.message is not None
        text = context.get_user_input()
        word, _, rest = text.partition(" ")
        if word == "hello":
            await event_queue.enqueue_event(new_text_message("Hello, without a task"))
            return
        if context.current_task is None:
            task = new_task_from_user_message(context.message)
            task.id, task.context_id = context.task_id or "", context.context_id or ""
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, context.task_id or "", context.context_id or "")
        await updater.start_work()
        if word == "ask":
            question = updater.new_agent_message([new_text_part("Which day?")])
            await updater.requires_input(question)
        elif word == "fail":
            await updater.failed(updater.new_agent_message([new_text_part("It broke")]))
        else:
            await self._answer(updater, word, rest, text)
            await updater.complete()

    async def _answer(self, updater: TaskUpdater, word: str, rest: str, text: str) -> None:
        if word == "release":
            self._gates[rest].set()
        elif word == "hold":
            await updater.add_artifact([new_text_part("held")], "answer")
            await self._gates[rest].wait()
            await updater.add_artifact([new_text_part(" and released")], "answer", append=True)
            await updater.add_artifact([new_data_part({"n": 7})], "facts", name="facts")
        else:
            for number, said in enumerate(text.split()):
                part = new_text_part(f" {said}" if number else said)
                await updater.add_artifact([part], "answer", append=number > 0)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel."""
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


def card(url: str) -> AgentCard:
    """Return the agent's card."""
    return AgentCard(
        name="Foreign",
        description="An agent of another house",
        version="3.2.1",
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="say", name="say", description="Says it again", tags=["text"])],
        supported_interfaces=[
            AgentInterface(url=f"{url}/rpc", protocol_binding="JSONRPC", protocol_version=version)
            for version in ("1.0", "0.3")
        ],
    )


def main() -> None:
    """Serve on a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    described = card(url)
    handler = DefaultRequestHandler(
        agent_executor=Executor(), task_store=InMemoryTaskStore(), agent_card=described
    )
    routes = [
        *create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=True),
        *create_agent_card_routes(described),
    ]
    config = uvicorn.Config(
        Starlette(routes=routes), log_level="critical", timeout_graceful_shutdown=1
    )
    print(url, flush=True)  # noqa: T201 - a program prints
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
