"""``palaver call``: say something to an agent, and see the answer as it comes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import aclosing
from typing import Annotated, Final

import typer

from palaver.cli.asap_transcript import AsapJson, AsapText, AsapTranscript
from palaver.cli.call_asap import Saying, converse
from palaver.cli.exits import Exit
from palaver.cli.transcript import JsonTranscript, TextTranscript, Transcript
from palaver.client.a2a import A2aClient
from palaver.client.asap import Transport
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
_ASAP: Final[Mapping[str, Transport]] = {"asap": "auto", "asap-ws": "websocket"}


def call(
    url: Annotated[str, typer.Argument(help="Where the agent is, such as http://127.0.0.1:8080")],
    text: Annotated[str | None, typer.Argument(help="What to say")] = None,
    *,
    wire: Annotated[
        str | None,
        typer.Option(
            help="a2a, a2a-0.3, a2a-0.1, asap or asap-ws; otherwise the newest A2A that the agent "
            "offers, and asap-ws for a ws:// URL"
        ),
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

    A connection that drops is taken up again where it broke.
    With --task and no TEXT, an earlier task is followed, behind event --after
    or from how it stands now.
    """
    if wire is None and url.partition("://")[0] in {"ws", "wss"}:
        wire = "asap-ws"
    _check(wire, text, task, after)
    configure_logging("error")
    if wire is not None and wire in _ASAP:
        saying = Saying(text or "", task, conversation)
        show: AsapTranscript = AsapJson() if json else AsapText()
        prompt = None if json or not sys.stdin.isatty() else _prompt
        code = asyncio.run(converse(url, _ASAP[wire], saying, give_up_after, show, prompt))
    else:
        transcript = JsonTranscript() if json else TextTranscript()
        patience = Patience(give_up_after=give_up_after)
        wanted = (text, task, after, conversation)
        code = asyncio.run(_converse(url, wire, wanted, patience, transcript))
    if code is not Exit.DONE:
        raise typer.Exit(code)


def _check(wire: str | None, text: str | None, task: str | None, after: int | None) -> None:
    """See that what is wanted goes together.

    Raises:
        ConfigError: it does not.

    """
    if wire is not None and wire not in _WIRES and wire not in _ASAP:
        message = f"--wire {wire}: choose one of {', '.join((*_WIRES, *_ASAP))}"
        raise ConfigError(message)
    if text is None and task is None:
        message = "say something (TEXT), or name a task to follow (--task)"
        raise ConfigError(message)
    if after is not None and (task is None or text is not None):
        message = "--after goes with --task, and without TEXT"
        raise ConfigError(message)
    if text is None and wire in _ASAP:
        message = f"--wire {wire} goes with TEXT: an earlier task is followed over A2A"
        raise ConfigError(message)


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
