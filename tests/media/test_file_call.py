"""Calls with a file against our own server, whose agent follows a script."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pytest

from palaver.client.asp import AspClient, Verdicts
from palaver.client.transport import Patience
from palaver.media import happenings as happened
from palaver.media.file_call import CallPatience, FileCall
from palaver.media.frame_source import FileFrames
from palaver.media.happenings import CallEnded, Happening
from palaver.media.player import Player
from palaver.protocols.asp.call import Call
from palaver.protocols.asp.config import AudioConfig, AudioEncoding, Framing, VADConfig
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import AudioEndMessage, Feature, PlaybackMarkMessage
from palaver.server.asp_echo import EchoTest
from palaver.speech.audio import decode
from tests.client.asp_server import CAPABILITIES, asp_server
from tests.client.legacy_server import legacy_server
from tests.media.scripted_call import (
    Script,
    begin,
    each,
    end,
    mark,
    say,
    say_slowly,
    silence,
    speech,
    tone,
)
from tests.server.asp_host import Host, hosting

KindT = TypeVar("KindT")
QUIET = CallPatience(quiet_after=0.2, give_up_after=1.0, commit_after=0.2)
AUDIO = AudioConfig(framing=Framing.ASP16)


@dataclass(slots=True)
class Heard:
    """The audience of one call."""

    all: list[tuple[int, Happening]] = field(default_factory=list)
    ticks: int = 0

    def take(self, at_ms: int, happening: Happening) -> None:
        """Keep it."""
        self.all.append((at_ms, happening))

    def ticked(self, now_ms: int) -> None:
        """Count it."""
        self.ticks += 1
        assert now_ms == self.ticks * 20

    def of(self, kind: type[KindT]) -> list[KindT]:
        """Return what has happened of that kind."""
        return [one for _, one in self.all if isinstance(one, kind)]


async def call(
    url: str,
    *,
    ms: int = 300,
    audio: AudioConfig = AUDIO,
    patience: CallPatience = QUIET,
    lead: float = 28.0,
    **wanted: Any,
) -> tuple[CallEnded, FileCall, Heard]:
    """Call with a tone of ``ms``; in a hurry, unless ``lead`` is 0."""
    heard = Heard()
    tries = Patience(give_up_after=0.3)
    limits = Limits(capabilities_timeout=0.2)
    async with AspClient(url, limits=limits, patience=tries, verdicts=Verdicts()) as client:
        session = await client.start_session(audio=audio, **wanted)
        agreed = session.config.audio
        rate, frame_ms = agreed.sample_rate, agreed.frame_duration_ms
        frames = FileFrames(tone(rate, ms, 300.0), rate, frame_ms, max_lead=lead)
        player = Player(rate, frame_ms)
        one = FileCall(session, frames, player, patience, audience=heard)
        frames.hurry = one.hurries
        return await one.run(), one, heard


def answering(ms: int = 200) -> Script:
    """Return a server that hears 300 ms of speech, and answers with a tone."""
    return Script(
        [
            (60, speech(20, confirmed=False)),
            (280, speech(20, confirmed=True)),
            (800, each(silence(20, 300), begin("hello"), say(ms), mark, end())),
        ]
    )


async def test_an_answer() -> None:
    """The file arrives as it is, silence closes the turn, the answer is played to its end."""
    script = answering()
    async with hosting(script) as host:
        ended, one, heard = await call(f"ws://127.0.0.1:{host.port}")
    assert ended == CallEnded("answered", "the answer is complete")
    said = decode(bytes(script.heard), AudioEncoding.PCM_S16LE)
    assert said[:2_400].tolist() == tone(8_000, 300, 300.0).tolist()
    assert not said[2_400:].any()
    assert one.record.reply().tolist() == tone(8_000, 200).tolist()
    figures = one.figures()
    assert (figures.received_ms, figures.played_ms, figures.cleared_ms) == (200, 200, 0)
    assert figures.frames_received == 10
    assert figures.frames_sent == len(script.heard) // 320 == heard.ticks
    (turn,) = figures.turns
    assert (turn.start_ms, turn.end_ms, turn.response_id) == (20, 300, "r1")
    assert figures.first_audio_ms == turn.first_audio_ms is not None
    assert turn.decided_after_ms is not None
    assert turn.decided_after_ms <= turn.first_audio_ms
    (report,) = heard.of(happened.MarkReported)
    assert (report.outcome, report.played_ms) == ("played", 200)
    marks = [one for one in script.messages if isinstance(one, PlaybackMarkMessage)]
    assert [(one.mark_id, one.outcome, one.played_ms) for one in marks] == [("m1", "played", 200)]
    assert script.closed[0].reason == "call_hangup"
    order = [type(one) for _, one in heard.all]
    assert order[0] is happened.Negotiated
    assert order[-1] is happened.CallEnded
    assert [at for at, _ in heard.all] == sorted(at for at, _ in heard.all)


@pytest.mark.parametrize("encoding", list(AudioEncoding))
@pytest.mark.parametrize("framing", list(Framing))
async def test_every_framing_and_encoding(encoding: AudioEncoding, framing: Framing) -> None:
    """Whatever was negotiated, the tone that was said is the tone that is heard."""
    audio = AudioConfig(sample_rate=16_000, encoding=encoding, framing=framing)
    async with hosting(answering(), asp_encodings=list(AudioEncoding)) as host:
        ended, one, _ = await call(f"ws://127.0.0.1:{host.port}", audio=audio)
    assert ended.outcome == "answered"
    reply, sent = one.record.reply().astype(np.int32), tone(16_000, 200).astype(np.int32)
    assert len(reply) == len(sent)
    assert np.abs(reply - sent).max() <= (0 if encoding is AudioEncoding.PCM_S16LE else 260)


async def test_real_time() -> None:
    """Without hurry the call lasts as long as what is said and heard in it."""
    loop = asyncio.get_running_loop()
    async with hosting(answering()) as host:
        began = loop.time()
        ended, one, _ = await call(f"ws://127.0.0.1:{host.port}", lead=0.0)
        took = loop.time() - began
    assert ended.outcome == "answered"
    assert took >= one.record.now_ms / 1_000 - 0.05 >= 0.9
    (turn,) = one.figures().turns
    assert turn.decided_after_ms is not None
    assert turn.decided_after_ms >= 350  # 480, less what the clock was caught up with


async def test_an_interruption() -> None:
    """Speech holds the answer, confirmed speech cancels it; nothing of it is heard after that."""
    script = Script(
        [
            (100, each(begin("long"), say(3_000), mark)),
            (500, speech(480, confirmed=False)),
            (700, speech(480, confirmed=True)),
            (720, end(interrupted=True, reason="barge_in")),
            (900, each(silence(480, 880), begin("short"), say(200), mark, end())),
        ]
    )
    async with hosting(script) as host:
        ended, one, heard = await call(f"ws://127.0.0.1:{host.port}", ms=1_000, lead=0.0)
    assert ended.outcome == "answered"
    first, second = one.figures().responses
    assert first.interrupted
    assert first.received == first.played + first.cleared == 24_000
    assert (second.played, second.cleared) == (1_600, 0)
    held = [at for at, found in heard.all if isinstance(found, happened.PlaybackHeld)]
    later = [frame is None for frame in one.record.heard[held[0] // 20 + 1 :]]
    quiet = later.index(False) if False in later else len(later)
    assert quiet * 20 >= 300  # from the hold to the next answer
    assert [report.outcome for report in heard.of(happened.MarkReported)] == ["cleared", "played"]
    assert heard.of(happened.MarkReported)[0].played_ms == first.played_ms


async def test_a_noise() -> None:
    """Where it was no speech, the answer goes on where it was held, and is heard whole."""
    script = Script(
        [
            (100, each(begin("long"), say(1_200), end())),
            (300, speech(280, confirmed=False)),
            (500, silence(280, 320, discarded=True)),
        ]
    )
    async with hosting(script) as host:
        ended, one, heard = await call(f"ws://127.0.0.1:{host.port}", ms=100, lead=0.0)
    assert ended.outcome == "answered"
    figures = one.figures()
    assert (figures.played_ms, figures.cleared_ms) == (1_200, 0)
    assert len(heard.of(happened.PlaybackResumed)) == 1
    assert len(one.record.reply()) > 9_600  # the pause is in it


async def test_an_answer_that_comes_slowly() -> None:
    """What comes at half the rate of the clock is heard whole, and the gaps are counted."""
    script = Script([(200, each(begin("slow"), say_slowly(200, 0.04)))])
    async with hosting(script) as host:
        ended, one, _ = await call(f"ws://127.0.0.1:{host.port}", ms=100, lead=0.0)
    assert ended.outcome == "answered"
    figures = one.figures()
    assert figures.played_ms == 200
    assert figures.late_frames > 0


async def test_no_answer() -> None:
    """A server that hears, and says nothing, is given up; it was asked for its answer before."""
    script = Script()
    async with hosting(script) as host:
        ended, one, heard = await call(f"ws://127.0.0.1:{host.port}", lead=0.0, ms=100)
    assert ended == CallEnded("unanswered", "no answer for 1 s")
    assert not len(one.record.reply())
    assert heard.of(happened.FileSent) == [happened.FileSent(100)]
    assert len(heard.of(happened.Committed)) == 1
    assert any(isinstance(message, AudioEndMessage) for message in script.messages)


async def test_speech_that_never_ends() -> None:
    """What was begun is waited for as long as any answer, not for ever."""
    async with hosting(Script([(100, speech(20, confirmed=True))])) as host:
        ended, _, _ = await call(f"ws://127.0.0.1:{host.port}")
    assert ended == CallEnded("unanswered", "no answer for 1 s")


@pytest.mark.parametrize(("understood", "outcome"), [("", "not_understood"), ("ok", "answered")])
async def test_an_answer_to_nothing(understood: str, outcome: str) -> None:
    """An answer alone does not show that anything was understood, where words are told."""

    def tell(call_: Call) -> None:
        call_.session.report_transcript("user", understood, call_.now())
        call_.session.report_transcript("agent", "Pardon?", call_.now())

    steps = [
        (100, each(speech(20, confirmed=True), silence(20, 80), begin(), tell, say(100), end()))
    ]
    async with hosting(Script(steps)) as host:
        ended, _, _ = await call(f"ws://127.0.0.1:{host.port}")
    assert ended == CallEnded(outcome, "the answer is complete")  # type: ignore[arg-type]


async def test_an_answer_without_end() -> None:
    """An answer that nobody ends is given up when nothing more comes."""
    async with hosting(Script([(100, each(begin(), say(100)))])) as host:
        ended, one, _ = await call(f"ws://127.0.0.1:{host.port}")
    assert ended == CallEnded("answered", "nothing new for 1 s")
    assert one.figures().played_ms == 100


async def test_an_answer_that_comes_at_once() -> None:
    """What is longer than the caller's patience, and was sent at once, is heard to its end."""
    async with hosting(Script([(100, each(begin(), say(1_600), end()))])) as host:
        ended, one, _ = await call(f"ws://127.0.0.1:{host.port}", lead=0.0, ms=100)
    assert ended == CallEnded("answered", "the answer is complete")
    assert one.figures().played_ms == 1_600


async def test_a_connection_that_drops() -> None:
    """The call goes on where its socket was lost: the answer is whole, and so is what was said."""
    hosts: list[Host] = []

    def drop(_: Call) -> None:
        for socket in hosts[0].endpoint._sockets:
            socket._drop()

    script = Script([(100, each(begin(), say_slowly(600, 0.02))), (400, drop)])
    async with hosting(script) as host:
        hosts.append(host)
        ended, one, heard = await call(f"ws://127.0.0.1:{host.port}", lead=0.0, ms=600)
    assert ended == CallEnded("answered", "the answer is complete")
    assert heard.of(happened.LineChanged) == [
        happened.LineChanged(lost=True),
        happened.LineChanged(lost=False),
    ]
    assert one.figures().played_ms == 600
    said = decode(bytes(script.heard), AudioEncoding.PCM_S16LE)
    assert said[:4_800].tolist() == tone(8_000, 600, 300.0).tolist()


async def test_a_wish_in_an_answer_that_never_ends() -> None:
    """A server that hangs up and forgets to end its answer is not waited for for ever."""

    def hang_up(call_: Call) -> None:
        call_.session.act("hangup", call_.now())

    async with hosting(Script([(100, each(begin(), say(100), hang_up))])) as host:
        ended, _, _ = await call(f"ws://127.0.0.1:{host.port}", lead=0.0, ms=5_000)
    assert ended == CallEnded("answered", "the server has hung up")


async def test_an_answer_that_is_too_long() -> None:
    """However much comes, the caller hangs up in the end."""
    patience = CallPatience(quiet_after=0.2, give_up_after=1.0, max_answer=0.5)
    script = Script([(100, each(begin(), say_slowly(3_000, 0.02)))])
    async with hosting(script) as host:
        ended, _, _ = await call(f"ws://127.0.0.1:{host.port}", lead=0.0, patience=patience)
    assert ended == CallEnded("answered", "the answer lasts over 0.5 s")


async def test_a_second_turn_is_waited_for() -> None:
    """After an answer, one that is still owed is waited for longer than quiet lasts."""

    def answer_late(call_: Call) -> None:
        asyncio.get_running_loop().call_later(
            0.6, lambda: each(begin("two"), say(100), end())(call_)
        )

    script = Script(
        [
            (100, each(speech(0, confirmed=True), silence(0, 80))),
            (120, each(begin("one"), say(100), end())),
            (400, each(speech(300, confirmed=True), silence(300, 380), answer_late)),
        ]
    )
    async with hosting(script) as host:
        ended, one, _ = await call(f"ws://127.0.0.1:{host.port}", lead=0.0)
    assert ended.outcome == "answered"
    figures = one.figures()
    assert [turn.response_id for turn in figures.turns] == ["r1", "r2"]
    assert [response.played_ms for response in figures.responses] == [100, 100]


async def test_a_server_without_a_detector() -> None:
    """A server that reports nothing is asked for its answer, once, and the echo comes."""
    async with hosting(EchoTest) as host:
        ended, one, heard = await call(f"ws://127.0.0.1:{host.port}")
    assert ended.outcome == "answered"
    assert len(heard.of(happened.Committed)) == 1
    assert one.record.reply()[:2_400].tolist() == tone(8_000, 300, 300.0).tolist()


@pytest.mark.parametrize("vad", [VADConfig(enabled=False), VADConfig()])
async def test_who_says_that_the_utterance_is_over(vad: VADConfig) -> None:
    """With detection off, or where speech is not reported, the caller says so with the file."""
    script = Script(on_commit=each(begin("yes"), say(100), end()))
    features = frozenset(Feature) - ({Feature.SPEECH_EVENTS} if vad.enabled else set())
    async with hosting(script) as host:
        url = f"ws://127.0.0.1:{host.port}"
        ended, one, heard = await call(url, vad=vad, features=features)
    assert ended.outcome == "answered"
    at = next(at for at, found in heard.all if isinstance(found, happened.Committed))
    assert at == 300
    assert one.figures().first_audio_ms is not None


async def test_hanging_up() -> None:
    """The server's wish is done once all before it was heard."""

    def hang_up(call_: Call) -> None:
        call_.session.act("hangup", call_.now(), reason="goodbye")

    script = Script([(100, each(begin(), say(400), end(), hang_up))])
    async with hosting(script) as host:
        ended, one, heard = await call(f"ws://127.0.0.1:{host.port}", ms=2_000, lead=0.0)
    assert ended == CallEnded("answered", "the server has hung up")
    assert one.figures().played_ms == 400
    assert one.record.now_ms < 2_000
    assert heard.of(happened.ActionAsked)[0].reason == "goodbye"


async def test_a_transfer() -> None:
    """A transfer is told, and ends the call."""

    def transfer(call_: Call) -> None:
        call_.session.act("transfer", call_.now(), target="desk 7")

    async with hosting(Script([(100, transfer)])) as host:
        ended, _, _ = await call(f"ws://127.0.0.1:{host.port}")
    assert ended == CallEnded("transferred", "the server transfers the call to desk 7")


@pytest.mark.parametrize(
    ("act", "outcome", "reason"),
    [
        (lambda call_: call_.session.end(call_.now(), "goodbye"), "answered", "goodbye"),
        (lambda call_: call_.session.fail(call_.now(), "broken"), "failed", "the agent failed"),
    ],
)
async def test_the_server_ends_the_session(act: Any, outcome: str, reason: str) -> None:
    """What has come is heard; how it came out depends on why."""
    async with hosting(Script([(100, each(begin(), say(200), end(), act))])) as host:
        ended, one, _ = await call(f"ws://127.0.0.1:{host.port}", ms=2_000, lead=0.0)
    assert ended.outcome == outcome
    assert reason in ended.reason
    if outcome == "answered":
        assert one.figures().played_ms == 200


async def test_the_server_goes_away() -> None:
    """A server that is gone in the middle, and stays away, is lost: what was heard is kept."""
    async with asp_server() as server:
        calling = asyncio.create_task(call(server.url, ms=3_000, lead=0.0))
        await server.until(object, 30)  # type: ignore[type-abstract]
    ended, one, heard = await calling
    assert ended.outcome == "lost"
    assert heard.of(happened.LineChanged)[0].lost
    assert len(one.record.reply())


async def test_a_server_of_the_protocol_before() -> None:
    """A legacy server is told the end of the file, and its answer is heard."""
    async with legacy_server() as server:
        ended, one, heard = await call(server.url, audio=AudioConfig())
    assert heard.of(happened.Negotiated)[0].legacy_mode
    assert len(heard.of(happened.Committed)) == 1
    assert ended.outcome == ("answered" if one.figures().played_ms else "unanswered")


async def test_a_server_of_1_0() -> None:
    """A server that knows nothing of 1.1 is heard as well."""
    old = CAPABILITIES.model_copy(update={"version": "1.0.0", "features": ()})
    patience = CallPatience(quiet_after=0.2, give_up_after=1.0, max_answer=0.5)
    async with asp_server(capabilities=old) as server:
        ended, one, _ = await call(server.url, audio=AudioConfig(), patience=patience)
    assert ended == CallEnded("answered", "the answer lasts over 0.5 s")  # it says silence again
    assert one.record.reply()[:2_400].tolist() == tone(8_000, 300, 300.0).tolist()


async def test_a_hurry_keeps_to_the_lead() -> None:
    """In a hurry no audio runs further ahead of the clock than it may."""
    async with hosting(answering(), asp_max_audio_lead=1.5) as host:
        url = f"ws://127.0.0.1:{host.port}"
        ended, one, heard = await call(url, ms=1_500, lead=0.9)
    assert ended.outcome == "answered"
    assert heard.of(happened.ErrorTold) == []
    sent_at = one.record.sent_at
    ahead = [number * 0.02 - (at - sent_at[0]) for number, at in enumerate(sent_at)]
    assert 0.5 < max(ahead) <= 1.2
