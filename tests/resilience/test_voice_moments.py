"""Calls that are interrupted, lost and hung up at every moment, and callers that lie."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from palaver.errors import StoreUnavailable
from palaver.model.states import TaskState
from palaver.protocols.asp.call import Call, CallListener
from palaver.protocols.asp.config import VADConfig
from palaver.protocols.asp.messages import (
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    PlaybackMarkMessage,
    ResponseEndMessage,
    ResponseStartMessage,
    TranscriptMessage,
)
from palaver.speech.turn_table import TurnState
from palaver.testing.speech import Cue, ScriptedRecogniser, ToneSpeech
from tests.conftest import Serve
from tests.resilience.voice import (
    BRIEF,
    BUSY,
    FAILED,
    Caller,
    Exchange,
    OddRecogniser,
    OddVoice,
    calling,
    goes_on,
    logged,
    named,
    serving,
    trouble,
)
from tests.server.asp_host import eventually, lines
from tests.server.asp_peers import dialled
from tests.speech.calls import QUICK, silence, speech
from tests.speech.recordings import speech as recorded


async def never(voice: ToneSpeech) -> AsyncGenerator[bytes, None]:
    """Never begin."""
    await asyncio.Event().wait()
    yield b""


async def stalls(voice: ToneSpeech) -> AsyncGenerator[bytes, None]:
    """Begin, and never go on."""
    yield voice._tone(100)
    await asyncio.Event().wait()


async def transcribing(caller: Caller, _: Any) -> None:
    """Wait until the utterance is over, and its words are looked for."""
    await caller.until(lambda _: any(not one.discarded for one in ends(caller)))


async def thinking(caller: Caller, _: Any) -> None:
    """Wait until the agent was asked."""
    await caller.until(lambda _: len(caller.texts("user")) == 1)


async def synthesizing(caller: Caller, speaks: OddVoice) -> None:
    """Wait until the voice was asked."""
    await eventually(lambda: speaks.open_streams)


async def speaking(caller: Caller, _: Any) -> None:
    """Wait until the agent is heard."""
    await caller.until(lambda _: caller.audio_ms >= 20)


async def held(caller: Caller, _: Any) -> None:
    """Wait until the agent is held, because somebody may be speaking."""
    await speaking(caller, _)
    await caller.say(speech(80))
    await caller.until(
        lambda _: [one.confirmed for one in caller.messages(AudioSpeechStartMessage)][2:] == [False]
    )


class Waiting:
    """A cue: what was said is understood when the test says so."""

    def __init__(self) -> None:
        self.words: asyncio.Future[str] | None = None

    def __call__(self) -> asyncio.Future[str]:
        """Begin to wait."""
        self.words = asyncio.get_running_loop().create_future()
        return self.words


async def held_as_it_begins(place: Exchange, caller: Caller, waits: Waiting) -> None:
    """Bring the call to where an answer could be heard, but for somebody who may be speaking."""

    def held() -> bool:
        voice = place.host.app._voice
        assert voice is not None
        return any(call._machine.state is TurnState.HELD for call in voice._calls)

    await caller.utter()
    words = await eventually(lambda: waits.words)
    assert words is not None
    await caller.say(speech(80))
    await caller.until(lambda _: len(caller.messages(AudioSpeechStartMessage)) == 3)
    assert not caller.messages(AudioSpeechStartMessage)[-1].confirmed
    place.host.loop.call_soon_threadsafe(words.set_result, "hello")
    async with asyncio.timeout(10):
        while not await place.host.ask(held):
            pass


def ends(caller: Caller) -> list[AudioSpeechEndMessage]:
    """Return the ends of speech that were told."""
    return caller.messages(AudioSpeechEndMessage)


Moment = Callable[[Caller, Any], Awaitable[None]]
MOMENTS: list[tuple[Moment, Cue, Any]] = [
    (transcribing, "unheard", None),
    (thinking, "hangs", None),
    (synthesizing, "hi", never),
    (speaking, "story", None),
    (speaking, "hi", stalls),
    (held, "story", None),
    (speaking, "twice", None),
]


def troubled(moment: Moment, cue: Cue, once: Any) -> dict[str, Any]:
    """Return the engines that bring a call to a moment."""
    waits = [asyncio.Event().wait] if moment is transcribing else []
    cues = [] if moment is transcribing else [cue]
    return {
        "cues": [],
        "hears": OddRecogniser(list(waits), [*cues, "hello"]),
        "speaks": None if once is None else OddVoice(once),
    }


@pytest.mark.parametrize(("moment", "cue", "once"), MOMENTS[:-1])
async def test_barge_in_at_any_moment(moment: Moment, cue: Cue, once: Any) -> None:
    """What the caller says into it ends what was under way, and is answered."""
    async with trouble(**troubled(moment, cue, once)) as (_, caller):
        await caller.utter()
        await moment(caller, None if once is None else _.speaks)
        await goes_on(caller)
        for end in caller.messages(ResponseEndMessage)[:-1]:
            assert end.interrupted


async def test_who_goes_on_just_as_the_answer_begins() -> None:
    """Nothing of it is heard, so nothing is interrupted: all that was said is one question."""
    waits = Waiting()
    async with trouble([waits, "hello again"]) as (place, caller):
        await held_as_it_begins(place, caller, waits)
        await caller.say(speech(220), silence(400))
        await caller.until(lambda _: caller.messages(ResponseEndMessage))
        assert caller.texts("user") == ["hello", "hello again"]
        assert caller.texts("agent") == ["You said hello again."]
        assert len(caller.messages(ResponseStartMessage)) == 1
        (end,) = caller.messages(ResponseEndMessage)
        assert not end.interrupted
        first, both = place.hears.utterances
        assert len(both) > 1.8 * len(first)
        await caller.session.end()
        closed = caller.session.closed
        assert closed is not None
        assert closed.statistics is not None
        assert closed.statistics.barge_in_count == 0


async def test_a_cough_just_as_the_answer_begins() -> None:
    """It holds the answer before its first sound; then all of it is said."""
    waits = Waiting()
    async with trouble([waits]) as (place, caller):
        await held_as_it_begins(place, caller, waits)
        assert caller.messages(ResponseStartMessage) == []
        await caller.say(silence(400))
        await caller.answered()
        assert caller.texts("agent") == ["You said hello."]
        assert caller.order()[-1] == "response.end"
        assert caller.audio_ms >= 5 * len("You said hello.")


@pytest.mark.parametrize(("moment", "cue", "once"), MOMENTS)
async def test_a_caller_who_hangs_up_at_any_moment(moment: Moment, cue: Cue, once: Any) -> None:
    """Nothing of the call is left: no ear, no task, no stream of an engine."""
    async with trouble(**troubled(moment, cue, once)) as (place, caller):
        await caller.utter()
        await moment(caller, place.speaks)
        await caller.session.end()
        if cue == "hangs":  # a task that works goes on without its call
            (told,) = caller.messages(TranscriptMessage)
            assert told.task_id is not None
            await place.host.run(place.host.app.engine.cancel(told.task_id))


async def test_a_caller_who_is_lost_and_never_comes_back() -> None:
    """The answer waits for as long as the session does, and then nothing is left."""
    cues: list[Cue] = ["story"]
    hears, speaks = ScriptedRecogniser(cues), OddVoice(stalls, ms_per_character=20)
    async with serving(hears, speaks, asp_resume_window=0.2) as place:
        before = await place.host.left()
        async with dialled(place.host.port) as peer:
            call = await peer.start("lost", vad=QUICK.model_dump(mode="json"))
            sound = silence(100) + speech(300) + silence(400)
            await call.say(*(sound[at : at + 320] for at in range(0, len(sound), 320)))
            await peer.wait(lambda: call.texts("response.start"))
            peer.drop()
        assert await place.host.emptied(before) == before
        assert speaks.open_streams == 0


async def test_a_store_that_fails() -> None:
    """Without it no turn is taken; if it fails in the middle of one, the caller is told that."""
    with logged() as log:
        async with trouble(["hi", "story", "hello"]) as (place, caller):
            events: Any = place.host.app.storage.events
            append, read = events.append, events.read

            async def fails(*_: Any, **__: Any) -> Any:
                raise StoreUnavailable("gone for a moment")

            events.append = fails
            await caller.utter()
            await caller.answered()
            assert caller.texts("agent") == [BUSY]
            events.append, events.read = append, fails
            await caller.utter()
            await caller.answered(2)
            assert caller.texts("agent") == [BUSY, FAILED]
            events.read = read
            await goes_on(caller)
    assert named(log, "voice_turn_refused")
    assert named(log, "voice_answer_failed")[0]["error"] == "gone for a moment"


async def test_barge_in_while_the_turn_is_stored() -> None:
    """The task that nobody wants any more is canceled, though nobody knew its id yet."""
    async with trouble(["hangs", "hello"]) as (place, caller):
        events: Any = place.host.app.storage.events
        append = events.append
        stored: list[str] = []
        gate = asyncio.Event()

        async def slow(task_id: str, *given: Any, **named: Any) -> Any:
            answer = await append(task_id, *given, **named)
            if not stored:
                stored.append(task_id)
                await gate.wait()
            return answer

        events.append = slow
        await caller.utter()
        await eventually(lambda: stored)
        await caller.utter()
        await caller.until(lambda _: len(ends(caller)) == 2)
        place.host.loop.call_soon_threadsafe(gate.set)
        await caller.until(lambda _: "You said hello." in caller.texts("agent"))
        await caller.answered()
        task = await place.host.run(place.host.app.engine.settled(stored[0], 10))
        assert task.state is TaskState.CANCELED
        assert caller.texts("user") == ["hello"]


async def test_a_store_that_fails_while_the_caller_answers() -> None:
    """An answer that was stored counts, though nobody could say so; the next one is not lost."""
    async with trouble(["twice", "blue", "red", "hello"]) as (place, caller):
        events: Any = place.host.app.storage.events
        read = events.read

        async def fails(*_: Any, **__: Any) -> Any:
            raise StoreUnavailable("gone for a moment")

        await caller.utter()
        await caller.answered()
        events.read = fails
        await caller.utter()
        await caller.answered(2)
        assert caller.texts("agent") == ["First?", BUSY]
        events.read = read
        await caller.utter()
        await caller.answered(3)
        assert caller.texts("agent")[2:] == ["So blue and red."]
        await goes_on(caller)


async def test_a_client_that_takes_nothing() -> None:
    """The agent waits: little is made ahead, nothing is sent, and all is heard in the end."""
    jammed = [False]
    speaks = ToneSpeech(sample_rate_hz=8_000, ms_per_character=1_000)
    hears = ScriptedRecogniser(["story"])
    async with serving(hears, speaks) as place:
        voice = place.host.app._voice
        assert voice is not None
        answer = voice.answer

        def jamming(call: Call) -> CallListener:
            return answer(replace(call, congested=lambda: jammed[0]))

        place.host.app._asp._answer = jamming
        async with calling(place) as caller:
            await caller.utter()
            await caller.until(lambda _: caller.audio_ms > 100)
            jammed[0] = True
            await caller.say(silence(200))
            made = len(speaks.said)
            heard_ms = caller.audio_ms
            await caller.session.update(QUICK)  # so that something has gone both ways
            assert caller.audio_ms <= heard_ms + 600
            assert made <= 2
            jammed[0] = False
            await caller.until(lambda _: caller.audio_ms > heard_ms + 700)


async def test_callers_that_lie() -> None:
    """Marks and cancels of what never was, or cannot be, change nothing."""
    async with trouble(["hi there", "hello"], ToneSpeech(ms_per_character=30)) as (_, caller):
        session = caller.session
        mark = PlaybackMarkMessage(session_id=session.id, mark_id="never set")
        await session.report_mark(mark, "played", 2**53)
        await session.cancel_response("r1", 2**53)
        await caller.utter()
        await caller.until(lambda _: caller.audio_ms > 60)
        (start,) = caller.messages(ResponseStartMessage)
        for outcome in ("played", "cleared"):
            for response_id in (start.response_id, None, "r99"):
                lie = mark.model_copy(update={"response_id": response_id})
                await session.report_mark(lie, outcome, 2**53)
                await session.report_mark(lie, outcome, 0)
        await session.cancel_response("r99", 0)
        await caller.answered()
        (end,) = caller.messages(ResponseEndMessage)
        assert not end.interrupted
        assert caller.audio_ms >= 30 * len("You said hi there.")
        assert start.response_id is not None
        await session.cancel_response(start.response_id, 2**53)
        await goes_on(caller)


async def test_a_flood_of_keys() -> None:
    """A thousand keys at once: the last entry is answered, and the call goes on."""
    async with trouble(["hello"]) as (_, caller):
        for digit in "1234567890" * 100:
            await caller.session.press(digit)
        await caller.session.press("#")
        await caller.until(lambda _: "You said 34567890." in caller.texts("agent"))
        await goes_on(caller)


async def test_two_entries_in_one_instant() -> None:
    """Keys that come while nothing may interrupt: the last entry is answered, not lost."""
    settings = {"voice_greeting": "Welcome."}
    async with trouble([], ToneSpeech(ms_per_character=40), **settings) as (_, caller):
        await caller.until(lambda _: caller.audio_ms > 0)
        for digit in "12#34#":
            await caller.session.press(digit)
        await caller.until(lambda _: "You said 34." in caller.texts("agent"))
        assert caller.texts("user") == ["34"]


async def test_twenty_turns_in_a_row() -> None:
    """The last turn is answered as the first was, and knows of the turns before."""
    words: list[Cue] = [f"word {number}" for number in range(20)]
    wanted = {"features": BRIEF | {"transcripts"}}
    async with trouble(words, ToneSpeech(ms_per_character=2), wanted=wanted) as (_, caller):
        for number in range(20):
            await caller.utter()
            await caller.answered(number + 1)
        assert caller.texts("agent") == [f"You said word {number}." for number in range(20)]


async def test_fifty_calls_at_once() -> None:
    """Heard by the detector that is run in earnest, each is answered, and nothing is left."""
    hears = ScriptedRecogniser([f"word {number}" for number in range(200)])
    speaks = ToneSpeech(ms_per_character=2)
    spoken = recorded(8_000)[:9_600].tobytes()
    async with serving(hears, speaks, voice_detector="silero") as place:
        before = await place.host.left()

        async def one() -> None:
            async with calling(place, vad=VADConfig(silence_threshold_ms=300)) as caller:
                await caller.say(silence(200), spoken, silence(700))
                await caller.answered()
                assert caller.texts("agent")[0] == f"You said {caller.texts('user')[0]}."

        await asyncio.gather(*(one() for _ in range(50)))
        assert await place.host.emptied(before) == before


async def test_the_server_stops_while_the_agent_speaks() -> None:
    """The call is told, the answer is cut when the time is over, and nothing breaks."""
    speaks = ToneSpeech(ms_per_character=20)
    with logged() as log:
        async with (
            serving(ScriptedRecogniser(["story"]), speaks, drain_timeout=0.3) as place,
            dialled(place.host.port) as peer,
        ):
            call = await peer.start("told", vad=QUICK.model_dump(mode="json"))
            sound = silence(100) + speech(300) + silence(400)
            await call.say(*(sound[at : at + 320] for at in range(0, len(sound), 320)))
            await peer.wait(lambda: call.texts("response.start"))
            began = time.perf_counter()
            place.host.listener.should_exit = True
            await peer.told("protocol.go_away")
            assert (await call.take("session.ended"))["reason"] == "shutdown"
            assert await peer.closed() == (1001, "shutdown")
        assert time.perf_counter() - began < 3
    assert speaks.closed
    assert not [line for line in log if line["log_level"] in {"error", "critical"}]


async def test_a_signal_while_the_agent_speaks(serve: Serve) -> None:
    """A process whose voice is real leaves in time, and without a word of what it broke off."""
    settings = ("drain_timeout=0.5", "voice_greeting=" + "Good day to all of you. " * 40)
    given = [f"--set={one}" for one in (*settings, "log_format=json")]
    server = await asyncio.to_thread(serve, *given)
    async with dialled(server.port) as peer:
        call = await peer.start("greeted")
        await peer.wait(lambda: call.texts("response.start"))
        began = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        assert (await call.take("session.ended"))["reason"] == "shutdown"
        assert await peer.closed() == (1001, "shutdown")
    code = await asyncio.to_thread(server.process.wait, 20)
    assert code == 0
    assert time.perf_counter() - began < 5
    assert "Traceback" not in server.log.read_text(encoding="utf-8")
    assert lines(server, "asp_session_closed", "greeted")[0]["reason"] == "shutdown"
