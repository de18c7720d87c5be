"""Calls that go wrong: an agent with bad habits, engines that break, and what a call leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import structlog
from structlog.testing import capture_logs

from palaver.engine.agent import Agent
from palaver.engine.outputs import Output
from palaver.engine.turn import Turn
from palaver.providers.interfaces import SpeechToText, TextToSpeech
from palaver.speech.open import Engines
from palaver.testing.speech import Cue, ScriptedRecogniser, ToneSpeech
from tests.server.asp_host import hosting
from tests.speech.calls import Caller, Exchange, ResponseEndMessage, calling, exchange

Log: TypeAlias = list[Any]
BRIEF = frozenset[Any]()
"""No features: without marks nobody waits for their reports, and a short answer is soon over."""
NOT_HEARD = "Sorry, I could not hear you. Please say it again."
FAILED = "Sorry, something went wrong."
BUSY = "Sorry, I am too busy at the moment. Please try again."

agent = Agent("troubled", id="troubled")


@agent.skill("echo", default=True)
async def echo(turn: Turn) -> str:
    """Say it again."""
    return f"You said {turn.text}."


@agent.skill("story")
async def story(turn: Turn) -> AsyncIterator[Output]:
    """Tell a long one."""
    for number in range(200):
        yield f"This is sentence {number}. "


@agent.skill("endless")
async def endless(turn: Turn) -> str:
    """Put out 100 KB without an end of a sentence."""
    return "word " * 20_000


@agent.skill("letters")
async def letters(turn: Turn) -> str:
    """Put out 100 KB without a space."""
    return "a" * 100_000


@agent.skill("blank")
async def blank(turn: Turn) -> AsyncIterator[Output]:
    """Put out what nobody can say."""
    for piece in (" \n", "**", "```\n```", "\u200b", "---\n", "..."):
        yield piece


@agent.skill("controls")
async def controls(turn: Turn) -> str:
    """Put out what no terminal should be given."""
    return "One\x00 two\x1b[2J three."


@agent.skill("cracks")
async def cracks(turn: Turn) -> AsyncIterator[Output]:
    """Break after a sentence."""
    yield "This much I know. "
    raise RuntimeError("secret detail")


@agent.skill("twice")
async def twice(turn: Turn) -> str:
    """Ask two questions."""
    first = await turn.ask("First?")
    second = await turn.ask("Second?")
    return f"So {first} and {second}."


@agent.skill("hangs")
async def hangs(turn: Turn) -> str:
    """Never come to an end."""
    await asyncio.Event().wait()
    return "never"


class OddVoice(ToneSpeech):
    """Says the first text as ``once`` does, and all others as a tone; counts what is open."""

    def __init__(
        self, once: Callable[[ToneSpeech], AsyncGenerator[Any, None]], **options: Any
    ) -> None:
        super().__init__(**({"sample_rate_hz": 8_000, "ms_per_character": 5} | options))
        self.open_streams = 0
        self._once: Callable[[ToneSpeech], AsyncGenerator[Any, None]] | None = once

    async def speak(self, text: str, *, language: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield what the script does, then what a tone does."""
        once, self._once = self._once, None
        chunks = super().speak(text, language=language) if once is None else once(self)
        self.open_streams += 1
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()
            self.open_streams -= 1


class OddRecogniser(ScriptedRecogniser):
    """Answers the first utterances with whatever ``answers`` return or raise; then as scripted."""

    def __init__(self, answers: list[Callable[[], Any]], cues: list[Cue]) -> None:
        super().__init__(cues)
        self._answers = answers

    async def transcribe(self, audio: bytes, *, language: str | None = None) -> Any:
        """Return what the script says."""
        if not self._answers:
            return await super().transcribe(audio, language=language)
        answer = self._answers.pop(0)()
        return await answer if asyncio.iscoroutine(answer) else answer


@asynccontextmanager
async def serving(hears: SpeechToText, speaks: TextToSpeech, **settings: Any) -> AsyncIterator[Any]:
    """Serve the agent with these engines."""
    given = {"voice_detector": "energy"} | settings
    async with hosting(None, agents=[agent], engines=Engines(hears, speaks), **given) as host:
        yield Exchange(host, hears, speaks)  # type: ignore[arg-type] # whatever they are


@asynccontextmanager
async def trouble(
    cues: list[Cue],
    speaks: ToneSpeech | None = None,
    *,
    hears: ScriptedRecogniser | None = None,
    wanted: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Exchange, Caller]]:
    """Call; when the call is over, nothing of it is left, and no engine works for it any more."""
    speaks = speaks or ToneSpeech(ms_per_character=5)
    async with serving(hears or ScriptedRecogniser(cues), speaks, **settings) as place:
        before = await place.host.left()
        async with calling(place, **(wanted or {})) as caller:
            yield place, caller
        assert await place.host.emptied(before) == before
        assert getattr(speaks, "open_streams", 0) == 0


async def goes_on(caller: Caller, word: str = "hello") -> None:
    """See that the call is alive: what is said next is answered to its end."""
    await caller.utter()
    await caller.until(lambda _: f"You said {word}." in caller.texts("agent"))
    await caller.until(
        lambda _: caller.heard and caller.order()[-1] == ResponseEndMessage(session_id="s").type
    )


@contextmanager
def logged() -> Iterator[Log]:
    """Return the log of all that happens meanwhile, from level info on."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    with capture_logs() as lines:
        yield lines


def named(log: Log, event: str) -> Log:
    """Return the lines of an event."""
    return [line for line in log if line["event"] == event]


__all__ = [
    "BRIEF",
    "BUSY",
    "FAILED",
    "NOT_HEARD",
    "Caller",
    "Exchange",
    "Log",
    "OddRecogniser",
    "OddVoice",
    "agent",
    "calling",
    "exchange",
    "goes_on",
    "logged",
    "named",
    "serving",
    "trouble",
]
