"""``palaver call``: say something to an agent, and see the answer as it comes."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import Annotated, Final

import typer

from palaver.cli.exits import Exit
from palaver.cli.transcript import JsonTranscript, TextTranscript, Transcript
from palaver.client.a2a import A2aClient
from palaver.client.discovery import choose_interface, fetch_card
from palaver.client.transport import Patience, http_client
from palaver.engine.clock import new_id
from palaver.errors import ConfigError
from palaver.model.states import INTERRUPTED, TaskState
from palaver.observability.logging import configure_logging
from palaver.protocols.a2a.commands import Generation

__all__ = ["call"]

_WIRES: Final = {
    "a2a": Generation.V10,
    "a2a-1.0": Generation.V10,
    "a2a-0.3": Generation.V03,
    "a2a-0.1": Generation.V01,
}


def call(
    url: Annotated[str, typer.Argument(help="Where the agent is, such as http://127.0.0.1:8080")],
    text: Annotated[str | None, typer.Argument(help="What to say")] = None,
    *,
    wire: Annotated[
        str | None,
        typer.Option(help="a2a, a2a-0.3 or a2a-0.1; otherwise the newest that the agent offers"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, per event")] = False,
    task: Annotated[str | None, typer.Option(help="Go on with this task, or follow it")] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="With --task: only events behind this number")
    ] = None,
    conversation: Annotated[str | None, typer.Option(help="Belong to this conversation")] = None,
    give_up_after: Annotated[
        float, typer.Option(min=0.1, help="Seconds without news until the agent counts as lost")
    ] = 60.0,
) -> None:
    """Send TEXT to the agent at URL and print its answer as it streams.

    A connection that drops is taken up again where it broke. With --task and no TEXT, an earlier
    task is followed, behind event --after or from how it stands now.
    """
    if wire is not None and wire not in _WIRES:
        message = f"--wire {wire}: choose one of {', '.join(_WIRES)}"
        raise ConfigError(message)
    if text is None and task is None:
        message = "say something (TEXT), or name a task to follow (--task)"
        raise ConfigError(message)
    if after is not None and (task is None or text is not None):
        message = "--after goes with --task, and without TEXT"
        raise ConfigError(message)
    configure_logging("error")
    transcript = JsonTranscript() if json else TextTranscript()
    patience = Patience(give_up_after=give_up_after)
    conversing = _converse(url, wire, (text, task, after, conversation), patience, transcript)
    code = asyncio.run(conversing)
    if code is not Exit.DONE:
        raise typer.Exit(code)


async def _converse(
    url: str,
    wire: str | None,
    wanted: tuple[str | None, str | None, int | None, str | None],
    patience: Patience,
    transcript: Transcript,
) -> Exit:
    text, task_id, after, conversation = wanted
    async with http_client(patience) as http:
        asked = None if wire is None else _WIRES[wire]
        endpoint, generation = choose_interface(await fetch_card(http, url, asked), asked)
        client = A2aClient(endpoint, generation, ids=new_id, patience=patience, http=http)
        while True:
            if text is None and task_id is not None:
                news = client.resume(task_id, after)
            else:
                news = client.stream(text or "", task_id=task_id, conversation_id=conversation)
            async with aclosing(news):
                async for received in news:
                    transcript.add(received)
                    if transcript.state in INTERRUPTED:
                        break
            transcript.end()
            if transcript.state not in INTERRUPTED or not _can_answer(transcript):
                return _exit_of(transcript)
            text, task_id, after = await _prompt(), transcript.task_id, None


def _can_answer(transcript: Transcript) -> bool:
    return isinstance(transcript, TextTranscript) and sys.stdin.isatty()


async def _prompt() -> str:
    return await asyncio.to_thread(typer.prompt, "?", err=True)


def _exit_of(transcript: Transcript) -> Exit:
    if transcript.state in INTERRUPTED:
        return Exit.INPUT_REQUIRED
    failed = {TaskState.FAILED, TaskState.REJECTED, TaskState.CANCELED}
    return Exit.FAILED if transcript.state in failed else Exit.DONE
