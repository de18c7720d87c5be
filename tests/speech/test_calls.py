"""A call from the first word to the last: over real sockets, with scripted engines of speech."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from palaver.engine.agent import Agent
from palaver.engine.outputs import Output, Rejected
from palaver.engine.turn import Turn
from palaver.errors import ProviderError
from palaver.model.states import TaskState
from palaver.protocols.asp.config import AudioConfig, Framing, VADConfig
from palaver.protocols.asp.events import AudioReceived
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.messages import (
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    CallActionMessage,
    PlaybackMarkMessage,
    ResponseEndMessage,
    ResponseStartMessage,
    TranscriptMessage,
)
from palaver.providers.interfaces import Transcript
from palaver.testing.fault_proxy import FaultProxy
from palaver.testing.speech import ToneSpeech
from tests.server.legacy_client import LegacyClient
from tests.speech.calls import calling, exchange, silence, speech

agent = Agent("front desk", id="front-desk")


@agent.skill("echo", default=True)
async def echo(turn: Turn) -> AsyncIterator[Output]:
    """Say it again, word by word, as two sentences."""
    yield "You said"
    yield f" {turn.text}. "
    yield "Anything else?"


@agent.skill("context")
async def context(turn: Turn) -> str:
    """Say what was said before."""
    return " and then ".join(f"{one.role}: {one.text}" for one in turn.context) + "."


@agent.skill("story")
async def story(turn: Turn) -> AsyncIterator[Output]:
    """Tell a long one."""
    for number in range(40):
        yield f"This is sentence {number}. "


@agent.skill("book")
async def book(turn: Turn) -> str:
    """Ask, then book."""
    day = await turn.ask("For which day?")
    return f"Booked for {day}."


@agent.skill("slow")
async def slow(turn: Turn) -> str:
    """Think for long."""
    await asyncio.sleep(60)
    return "At last."


@agent.skill("bye")
async def bye(turn: Turn) -> str:
    """Hang up."""
    turn.hang_up()
    return "Goodbye."


@agent.skill("transfer")
async def transfer(turn: Turn) -> str:
    """Put through."""
    turn.transfer("100")
    return "Just a moment."


@agent.skill("refuse")
async def refuse(turn: Turn) -> str:
    """Refuse."""
    raise Rejected("I do not do that.")


@agent.skill("break")
async def break_(turn: Turn) -> str:
    """Break."""
    raise RuntimeError("secret detail")


@agent.skill("numbers")
async def numbers(turn: Turn) -> AsyncIterator[Output]:
    """Count for two seconds, without an end of a sentence."""
    for number in range(40):
        yield f"{number} "
        await asyncio.sleep(0.05)


@agent.skill("mute")
async def mute(turn: Turn) -> None:
    """Say nothing."""


async def test_an_utterance_is_answered() -> None:
    """Speech becomes a turn, the turn a task in the log, and its text sound, in this order."""
    async with exchange(agent, ["good morning"]) as place, calling(place) as caller:
        await caller.utter(300)
        await caller.answered()
        assert caller.texts("user") == ["good morning"]
        assert caller.texts("agent") == ["You said good morning.", "Anything else?"]
        assert [text for text, _ in place.speaks.said] == caller.texts("agent")
        expected_ms = 20 * sum(len(text) for text in caller.texts("agent"))
        assert expected_ms <= caller.audio_ms <= expected_ms + 20
        order = caller.order()
        assert order[:4] == [
            "audio.speech_start",
            "audio.speech_start",
            "audio.speech_end",
            "transcript",
        ]
        assert order[4] == "response.start"
        assert order[-1] == "response.end"
        (task_id,) = {one.task_id for one in caller.messages(TranscriptMessage)}
        assert task_id is not None
        task = await place.task(task_id)
        assert (task.state, task.wire) == (TaskState.COMPLETED, "asp")
        assert task.history[0].text == "good morning"
        assert task.artifacts[0].text == "You said good morning. Anything else?"


async def test_the_recogniser_is_given_the_utterance() -> None:
    """It hears the speech with its padding at its own rate, and the language of the call."""
    place_settings = {"voice_language": "en"}
    async with (
        exchange(agent, ["hello", "olá"], **place_settings) as place,
        calling(place) as caller,
        calling(place, metadata={"language": "pt-BR"}) as portuguese,
    ):
        await caller.utter(400)
        await caller.answered()
        await portuguese.utter(400)
        await portuguese.answered()
        durations = [len(one) / 16 for one in place.hears.utterances]
        assert all(400 <= duration <= 400 + 100 + 300 for duration in durations)
        assert place.hears.languages == ["en", "pt-BR"]
        assert [language for _, language in place.speaks.said] == ["en", "en", "pt-BR", "pt-BR"]


async def test_every_sentence_ends_with_a_mark_and_the_last_sound_says_so() -> None:
    """A mark stands behind each sentence; the last audio has the flag, and only that."""
    async with (
        exchange(agent, ["hi"]) as place,
        calling(place, audio=AudioConfig(framing=Framing.ASP16)) as caller,
    ):
        await caller.utter()
        await caller.answered()
        assert len(caller.messages(PlaybackMarkMessage)) == 2
        flags = [one.flags for one in caller.heard if isinstance(one, AudioReceived)]
        assert flags[-1] == FrameFlags.FINAL
        assert set(flags[:-1]) == {FrameFlags.NONE}


async def test_a_question_is_answered_by_the_next_utterance() -> None:
    """What the caller says next goes to the task that asked."""
    async with exchange(agent, ["book a table", "monday"]) as place, calling(place) as caller:
        await caller.utter()
        await caller.answered()
        await caller.utter()
        await caller.answered(2)
        assert caller.texts("agent") == ["For which day?", "Booked for monday."]
        assert len({one.task_id for one in caller.messages(TranscriptMessage)}) == 1


async def test_what_was_said_before_is_known() -> None:
    """The next turn is told both sides of the conversation."""
    async with exchange(agent, ["hi", "context"]) as place, calling(place) as caller:
        await caller.utter()
        await caller.answered()
        await caller.utter()
        await caller.answered(2)
        told = " ".join(caller.texts("agent")[2:])
        assert told == "user: hi and then agent: You said hi. Anything else?."


@pytest.mark.parametrize(
    ("cue", "language", "said"),
    [
        ("", None, "Sorry, I did not understand that."),
        (Transcript("", "pt-BR", 0.1), None, "Desculpe, não entendi."),
        (ProviderError("broken"), None, "Sorry, I could not hear you. Please say it again."),
        ("refuse", None, "I do not do that."),
        ("break", None, "Sorry, something went wrong."),
    ],
)
async def test_what_goes_wrong_is_said(
    cue: str | Transcript | Exception, language: str | None, said: str
) -> None:
    """Whatever goes wrong, the caller hears a sentence of it, and the call goes on."""
    async with exchange(agent, [cue, "hello"]) as place, calling(place) as caller:
        await caller.utter()
        await caller.answered()
        assert caller.texts("agent")[0] == said
        assert "secret" not in " ".join(caller.texts("agent"))
        await caller.utter()
        await caller.answered(2)
        assert caller.texts("agent")[-1] == "Anything else?"


async def test_a_recogniser_that_never_answers() -> None:
    """Its time is over, and the caller is told."""

    def never() -> asyncio.Future[str]:
        return asyncio.get_running_loop().create_future()

    settings = {"voice_transcribe_timeout": 0.2}
    async with exchange(agent, [never], **settings) as place, calling(place) as caller:
        await caller.utter()
        await caller.answered()
        assert caller.texts("agent")[0] == "Sorry, I could not hear you. Please say it again."


@pytest.mark.parametrize("before_ms", [0, 100])
async def test_a_voice_that_breaks_off(before_ms: int) -> None:
    """A tone stands for the sentence that cannot be said; its words are still told."""
    speaks = ToneSpeech(
        fails=lambda text: ProviderError("no voice") if text.startswith("You") else None,
        sound_before_ms=before_ms,
    )
    async with exchange(agent, ["hi"], speaks) as place, calling(place) as caller:
        await caller.utter()
        await caller.answered()
        assert caller.texts("agent") == ["You said hi.", "Anything else?"]
        expected_ms = before_ms + 200 + 20 * len("Anything else?")
        assert expected_ms <= caller.audio_ms <= expected_ms + 20


async def test_a_task_that_says_nothing() -> None:
    """There is no answer, and the call goes on."""
    async with exchange(agent, ["mute", "hi"]) as place, calling(place) as caller:
        await caller.utter()
        await caller.until(lambda _: len(caller.texts("user")) == 1)
        await caller.utter()
        await caller.answered()
        assert caller.texts("agent") == ["You said hi.", "Anything else?"]
        assert len(caller.messages(ResponseStartMessage)) == 1


async def test_speech_interrupts() -> None:
    """Confirmed speech ends the answer as interrupted, and its task; what follows is a new turn."""
    async with exchange(agent, ["story", "context"]) as place, calling(place) as caller:
        await caller.utter()
        await caller.until(lambda _: caller.audio_ms > 800)
        await caller.utter()
        await caller.answered(2)
        first, second = caller.messages(ResponseEndMessage)
        assert first.interrupted
        assert first.reason == "barge_in"
        assert first.played_ms is not None
        assert first.sent_ms is not None
        assert 0 < first.played_ms <= first.sent_ms < 5_000
        assert not second.interrupted
        told = " ".join(caller.texts("agent")[-40:])
        assert "user: story and then agent: This is sentence 0." in told
        assert "sentence 39" not in told
        await caller.session.end()
        closed = caller.session.closed
        assert closed is not None
        assert closed.statistics is not None
        assert closed.statistics.barge_in_count == 1


async def test_words_do_not_wait_for_ever_for_their_sentence() -> None:
    """Text without an end is said as it comes, when there is nothing else to hear."""
    async with exchange(agent, ["numbers"]) as place, calling(place) as caller:
        await caller.utter()
        await caller.answered()
        texts = caller.texts("agent")
        assert len(texts) > 1
        assert " ".join(texts).split() == [str(number) for number in range(40)]


async def test_a_cough_interrupts_nothing() -> None:
    """What may be speech holds the sound; when it was none, the answer goes on to its end."""
    vad = VADConfig(silence_threshold_ms=200, min_speech_ms=300, ring_buffer_frames=3)
    async with exchange(agent, ["hello there"]) as place, calling(place, vad=vad) as caller:
        await caller.utter(500)
        await caller.until(lambda _: caller.audio_ms > 100)
        await caller.say(speech(120), silence(400))
        await caller.answered()
        (end,) = caller.messages(ResponseEndMessage)
        assert not end.interrupted
        assert caller.audio_ms >= 20 * len("You said hello there.Anything else?")
        starts = caller.messages(AudioSpeechStartMessage)
        ends = caller.messages(AudioSpeechEndMessage)
        assert [one.confirmed for one in starts] == [False, True, False]
        assert [one.discarded for one in ends] == [False, True]


async def test_who_goes_on_before_the_answer_is_heard_as_one() -> None:
    """Speech while the agent thinks takes the place of what was said before, and includes it."""
    async with exchange(agent, ["slow", "slow hello", "hi"]) as place, calling(place) as caller:
        await caller.utter()
        await caller.until(lambda _: len(caller.texts("user")) == 1)
        await caller.utter()
        await caller.until(lambda _: len(caller.texts("user")) == 2)
        first, second = (one.task_id for one in caller.messages(TranscriptMessage))
        assert first is not None
        assert second is not None
        assert len(place.hears.utterances[1]) > 1.8 * len(place.hears.utterances[0])
        assert (await place.task(first)).state is TaskState.CANCELED


async def test_a_greeting_comes_first_and_is_not_interrupted() -> None:
    """It is said at once, speech does not stop it, and what was said is answered after it."""
    settings = {"voice_greeting": "Welcome to the front desk."}
    async with exchange(agent, ["hi"], **settings) as place, calling(place) as caller:
        await caller.until(lambda _: caller.audio_ms > 40)
        await caller.utter()
        await caller.answered(2)
        first, second = caller.messages(ResponseEndMessage)
        assert not first.interrupted
        assert not second.interrupted
        assert caller.texts("agent") == [
            "Welcome to the front desk.",
            "You said hi.",
            "Anything else?",
        ]


async def test_a_call_that_comes_back_is_not_greeted_again() -> None:
    """After a transfer that failed, the caller knows where they are."""
    settings = {"voice_greeting": "Welcome."}
    async with (
        exchange(agent, ["hi"], **settings) as place,
        calling(place, metadata={"transfer_retry": True}) as caller,
    ):
        await caller.utter()
        await caller.answered()
        assert caller.texts("agent") == ["You said hi.", "Anything else?"]


async def test_long_thinking_is_filled() -> None:
    """Where that is set, the caller hears that something goes on."""
    settings = {"voice_filler_after": 0.1}
    async with exchange(agent, ["slow"], **settings) as place, calling(place) as caller:
        await caller.utter()
        await caller.until(lambda _: caller.texts("agent") == ["One moment, please."])


@pytest.mark.parametrize(("word", "action"), [("bye", "hangup"), ("transfer", "transfer")])
async def test_actions_come_after_the_speech(word: str, action: str) -> None:
    """The client is told what to do with the call once what was said before it has been played."""
    async with exchange(agent, [word]) as place, calling(place) as caller:
        await caller.utter()
        await caller.answered()
        (found,) = caller.messages(CallActionMessage)
        assert found.action == action
        assert caller.order()[-2:] == ["call.action", "response.end"]


async def test_who_cannot_be_told_to_hang_up_is_hung_up_on() -> None:
    """Without the feature the server ends the session itself, after the last word."""
    async with (
        exchange(agent, ["bye"]) as place,
        calling(place, features=frozenset()) as caller,
    ):
        await caller.utter()
        await caller.until(lambda _: caller.order()[-1:] == ["closed"])
        assert caller.audio_ms >= 20 * len("Goodbye.")


async def test_who_cannot_transfer_is_told() -> None:
    """Without the feature nothing can be transferred: the caller hears that."""
    async with (
        exchange(agent, ["transfer"]) as place,
        calling(place, features=frozenset()) as caller,
    ):
        await caller.utter()
        await caller.answered(2)
        assert place.speaks.said[-1][0] == "Sorry, I cannot transfer this call."


async def test_keys_are_a_turn() -> None:
    """What is keyed in up to # is taken for what was said."""
    async with exchange(agent, []) as place, calling(place) as caller:
        for digit in "42#":
            await caller.session.press(digit)
        await caller.answered()
        assert caller.texts("user") == ["42"]
        assert caller.texts("agent")[0] == "You said 42."
        assert place.hears.utterances == []


async def test_without_detection_the_client_says_when() -> None:
    """With VAD off, all since the last time is the utterance, and audio.end ends it."""
    async with (
        exchange(agent, ["hi"]) as place,
        calling(place, vad=VADConfig(enabled=False)) as caller,
    ):
        await caller.say(speech(300), silence(1_000))
        await caller.session.commit()
        await caller.answered()
        assert caller.texts("user") == ["hi"]
        assert len(place.hears.utterances[0]) == 2 * 8_000 * 1_300 // 1_000


async def test_both_sides_detect() -> None:
    """The client's end of an utterance that has ended here is an echo: there is one turn."""
    async with exchange(agent, ["hi", "again"]) as place, calling(place) as caller:
        await caller.utter()
        await caller.until(lambda _: len(caller.messages(AudioSpeechEndMessage)) == 1)
        await caller.session.commit()
        await caller.answered()
        assert caller.texts("user") == ["hi"]
        assert len(place.hears.utterances) == 1


async def test_a_client_that_cancels() -> None:
    """response.cancel stops the answer; what was heard is what the client says."""
    async with exchange(agent, ["story", "context"]) as place, calling(place) as caller:
        await caller.utter()
        await caller.until(lambda _: caller.audio_ms > 1_500)
        (start,) = caller.messages(ResponseStartMessage)
        assert start.response_id is not None
        await caller.session.cancel_response(start.response_id, 450, "manual")
        await caller.answered()
        await caller.utter()
        await caller.answered(2)
        told = " ".join(caller.texts("agent"))
        assert "agent: This is sentence 0." in told
        assert "agent: This is sentence 0. This is sentence 1." not in told


async def test_a_call_ends_in_the_middle() -> None:
    """Nothing is left of a call that is hung up while the agent speaks."""
    async with exchange(agent, ["story"]) as place:
        before = await place.host.left()
        async with calling(place) as caller:
            await caller.utter()
            await caller.until(lambda _: caller.audio_ms > 100)
            await caller.session.end()
        assert await place.host.emptied(before) == before


async def test_two_calls_at_once() -> None:
    """Each has its own turns, and its own conversation."""
    async with (
        exchange(agent, ["story", "hi"]) as place,
        calling(place) as one,
        calling(place) as two,
    ):
        await one.utter()
        await one.until(lambda _: one.audio_ms > 100)
        await two.utter()
        await two.answered()
        assert two.texts("agent") == ["You said hi.", "Anything else?"]
        assert one.messages(ResponseEndMessage) == []


@pytest.mark.parametrize("noise", [silence(400), b""])
async def test_a_media_server_from_before(noise: bytes) -> None:
    """It says audio.end, and hears the answer in its own shapes; two detectors make one turn."""
    async with exchange(agent, ["hi", "again"]) as place:
        url = f"ws://127.0.0.1:{place.host.port}/"
        async with LegacyClient(url) as old:
            await old.start("old")
            for word in ("hi", "again"):
                await old.say("old", silence(100) + speech(600) + silence(700)[: len(noise)])
                text, audio = await old.response("old")
                assert text == f"You said {word}."
                assert len(audio) >= 16 * 20 * len(f"You said {word}.Anything else?")
        assert len(place.hears.utterances) == 2


async def test_an_answer_survives_its_socket() -> None:
    """The socket is lost while the agent speaks: the answer goes on where it was, whole."""
    async with (
        exchange(agent, ["hello there"]) as place,
        FaultProxy(place.host.port) as proxy,
        calling(place, port=proxy.port) as caller,
    ):
        await caller.utter()
        await caller.until(lambda _: caller.audio_ms > 100)
        proxy.reset_all()
        await caller.answered()
        expected_ms = 20 * len("You said hello there.Anything else?")
        assert expected_ms <= caller.audio_ms <= expected_ms + 20
        assert proxy.connections == 2
