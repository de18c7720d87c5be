"""The a2a-sdk server at its best settings: `a2a_sdk.py stream --handler legacy --port P`.

uvicorn with uvloop and httptools, no access log, log level critical, the in-memory task store
without copies, and OpenTelemetry spans off. Both of the SDK's request handlers can be chosen: the
default one, and the legacy one that it still ships, which streams 1.5 to 2 times as fast.
"""

import argparse
import asyncio
import os

os.environ["OTEL_INSTRUMENTATION_A2A_SDK_ENABLED"] = "false"  # read by the SDK on import

import uvicorn
from a2a.helpers import new_task_from_user_message, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler, LegacyRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Message,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from workload import ANSWER_TEXT, CHUNK_TEXTS, RPC_PATH


class _Uncancelable(AgentExecutor):
    """An agent that nobody cancels in these benchmarks."""

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Refuse: no benchmark cancels."""
        raise NotImplementedError

    async def begin(self, context: RequestContext, event_queue: EventQueue) -> TaskUpdater:
        """Create the task and set it to working, as the SDK wants it done by the agent."""
        task = new_task_from_user_message(_message_of(context))
        task.id, task.context_id = context.task_id or "", context.context_id or ""
        await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        return updater


class StreamingExecutor(_Uncancelable):
    """One text chunk per event; with `yielding` it gives way to the event loop after each."""

    def __init__(self, *, yielding: bool = False) -> None:
        self._yielding = yielding

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Stream the texts, then complete."""
        updater = await self.begin(context, event_queue)
        for number, text in enumerate(CHUNK_TEXTS):
            await updater.add_artifact([new_text_part(text)], "answer", append=number > 0)
            if self._yielding:
                await asyncio.sleep(0)
        await updater.complete()


class AnsweringExecutor(_Uncancelable):
    """A task with one short artifact."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Answer, then complete."""
        updater = await self.begin(context, event_queue)
        await updater.add_artifact([new_text_part(ANSWER_TEXT)], "answer")
        await updater.complete()


class MessageExecutor(_Uncancelable):
    """The cheapest answer that the SDK knows: a message, and no task at all."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:  # noqa: ARG002
        """Answer with one message."""
        await event_queue.enqueue_event(new_text_message(ANSWER_TEXT))


class WaitingExecutor(_Uncancelable):
    """One text chunk, then nothing: the stream stays open."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Send one chunk and wait until cancelled."""
        updater = await self.begin(context, event_queue)
        await updater.add_artifact([new_text_part(CHUNK_TEXTS[0])], "answer")
        await asyncio.Event().wait()


def _message_of(context: RequestContext) -> Message:
    if context.message is None:
        raise ValueError("a request without a message")
    return context.message


EXECUTORS = {
    "stream": StreamingExecutor,
    "stream-yielding": lambda: StreamingExecutor(yielding=True),
    "reply": AnsweringExecutor,
    "message": MessageExecutor,
    "idle": WaitingExecutor,
}

HANDLERS = {"default": DefaultRequestHandler, "legacy": LegacyRequestHandler}


def card() -> AgentCard:
    """Return the agent card, with streaming on."""
    skill = AgentSkill(id="answer", name="answer", description="Answers", tags=["text"])
    return AgentCard(
        name="bench",
        description="Answers for benchmarks",
        version="1.0.0",
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[skill],
        supported_interfaces=[
            AgentInterface(
                url="http://127.0.0.1" + RPC_PATH,
                protocol_binding="JSONRPC",
                protocol_version="1.0",
            )
        ],
    )


def app(executor: AgentExecutor, handler_name: str) -> Starlette:
    """Build the SDK's JSON-RPC application around `executor`."""
    handler = HANDLERS[handler_name](
        agent_executor=executor,
        task_store=InMemoryTaskStore(use_copying=False),
        agent_card=card(),
    )
    return Starlette(
        routes=[
            *create_jsonrpc_routes(handler, RPC_PATH),
            *create_agent_card_routes(card()),
            Route("/ready", _ready),
        ]
    )


async def _ready(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ready")


def main() -> None:
    """Serve until the process is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=EXECUTORS)
    parser.add_argument("--handler", choices=HANDLERS, default="default")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    uvicorn.run(
        app(EXECUTORS[given.mode](), given.handler),
        port=given.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="critical",
    )


if __name__ == "__main__":
    main()
