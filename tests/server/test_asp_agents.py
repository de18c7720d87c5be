"""What an agent may do with a call, as the media server sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from palaver.protocols.asp.call import Call as Answering
from palaver.protocols.asp.call import CallListener
from palaver.protocols.asp.config import VADConfig
from palaver.protocols.asp.events import AudioReceived, Event, MessageReceived, SessionClosed
from palaver.protocols.asp.messages import AudioSpeechStartMessage, DtmfMessage
from tests.server.asp_host import eventually, hosting
from tests.server.asp_peers import FRAME, dialled, numbers, utterance

Digits = dict[str, Callable[[Answering], object]]

# What the agent does when that digit is dialled.
DIGITS: Digits = {
    "1": lambda call: call.session.act("transfer", call.now(), target="100", reason="asked"),
    "2": lambda call: call.session.override_turn(VADConfig(silence_threshold_ms=900), call.now()),
    "3": lambda call: call.session.mark(call.now()),
    "4": lambda call: call.session.report_speech(
        AudioSpeechStartMessage(session_id=call.session.id, start_ms=20), call.now()
    ),
    "5": lambda call: call.session.start_response(call.now(), "five"),
    "6": lambda call: call.session.send_audio(bytes(FRAME), call.now()),
    "7": lambda call: call.session.end_response(call.now()),
    "0": lambda call: call.session.end(call.now(), "agent_done"),
}


class Operator:
    """Does what the digits say; ``closings`` and ``answers`` are of all calls."""

    def __init__(self, call: Answering, closings: list[tuple[int, str]], number: int) -> None:
        self._call = call
        self._closings = closings
        self._number = number
        self.heard_frames = 0
        if call.session.call_id == "busy":
            call.session.end(call.now(), "busy")

    def heard(self, event: Event) -> None:
        """Do it."""
        self.heard_frames += isinstance(event, AudioReceived)
        match event:
            case MessageReceived(message=DtmfMessage(digit=digit)):
                DIGITS[digit](self._call)

    def closed(self, event: SessionClosed) -> None:
        """Note which call is over, and why."""
        self._closings.append((self._number, event.reason))


class Switchboard:
    """Has one operator for each call."""

    def __init__(self) -> None:
        self.closings: list[tuple[int, str]] = []
        self.operators: list[Operator] = []

    def __call__(self, call: Answering) -> CallListener:
        """Answer one more call."""
        self.operators.append(Operator(call, self.closings, len(self.operators)))
        return self.operators[-1]


@pytest.mark.parametrize(
    ("digit", "kind", "members"),
    [
        ("1", "call.action", {"action": "transfer", "target": "100", "reason": "asked"}),
        ("2", "turn.override", {"vad": {"silence_threshold_ms": 900}}),
        ("3", "playback.mark", {"mark_id": "m1"}),
        ("4", "audio.speech_start", {"start_ms": 20}),
        ("5", "response.start", {"text": "five", "response_id": "r1", "generation": 1}),
        ("0", "session.ended", {"reason": "agent_done"}),
    ],
)
async def test_what_an_agent_does(digit: str, kind: str, members: dict[str, object]) -> None:
    """The media server is told at once, where both know the feature."""
    async with hosting(Switchboard()) as host, dialled(host.port) as peer:
        call = await peer.start("all")
        await call.send("dtmf", digit=digit)
        assert members.items() <= (await call.take(kind)).items()
        if kind not in {"response.start", "session.ended"}:
            plain = await peer.start("dtmf only", features=["dtmf"])
            await plain.send("dtmf", digit=digit)
            await plain.hang_up()
            assert plain.items == []


async def test_a_call_that_the_agent_ends() -> None:
    """It is over at once; the agent is told within a second, and the id may be used again."""
    board = Switchboard()
    async with hosting(board) as host:
        before = await host.left()
        async with dialled(host.port) as peer:
            call = await peer.start("again")
            await call.send("dtmf", digit="0")
            assert (await call.take("session.ended"))["reason"] == "agent_done"
            await eventually(lambda: board.closings == [(0, "agent_done")])
            assert (await host.left())["listeners"] == 0
        assert await host.emptied(before) == before


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_an_id_that_is_used_again_at_once(loop: str) -> None:
    """Each agent is told of the end of its own call, and the new call is heard."""
    board = Switchboard()
    async with hosting(board, loop=loop) as host, dialled(host.port) as peer:
        for number in range(5):
            call = await peer.start("again")
            await call.say(*utterance(3))
            await call.send("dtmf", digit="0")
            await call.take("session.ended")
            assert board.closings == [(one, "agent_done") for one in range(number)]
            assert board.operators[number].heard_frames == 3
        metrics = host.endpoint._metrics
        assert metrics is not None
        await eventually(lambda: len(board.closings) == 5)
        assert metrics._running == {}


async def test_a_call_that_the_agent_does_not_take() -> None:
    """It is ended as it begins: the media server hears both, in that order."""
    board = Switchboard()
    async with hosting(board) as host, dialled(host.port) as peer:
        call = await peer.start("no", call_id="busy")
        assert (await call.take("session.ended"))["reason"] == "busy"
        await eventually(lambda: board.closings == [(0, "busy")])


async def test_a_call_that_the_agent_ends_before_the_server_stops() -> None:
    """The agent hears of the end of its call, before the server is gone."""
    board = Switchboard()
    async with hosting(board, drain_timeout=5) as host, dialled(host.port) as peer:
        call = await peer.start("last")
        await call.send("dtmf", digit="0")
        await call.take("session.ended")
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(host.app.drain(), host.loop))
        assert board.closings == [(0, "agent_done")]


async def test_an_answer_that_is_cancelled() -> None:
    """A barge-in ends it at once: what the agent still says of it is not sent."""
    async with hosting(Switchboard()) as host, dialled(host.port) as peer:
        call = await peer.start("barge in")
        for digit in "566":
            await call.send("dtmf", digit=digit)
        begun = await call.take("response.start")
        cancel = {"response_id": begun["response_id"], "played_ms": 30, "reason": "barge_in"}
        await call.send("response.cancel", **cancel)
        for digit in "6667":
            await call.send("dtmf", digit=digit)
        ended = await call.take("response.end")
        assert (ended["interrupted"], ended["sent_ms"], ended["played_ms"]) == (True, 40, 30)
        await call.send("response.cancel", **cancel)  # again: it is over, and that is no mistake
        statistics = (await call.hang_up())["statistics"]
        assert (statistics["barge_in_count"], statistics["audio_frames_sent"]) == (1, 2)
        assert len(call.items) == 2


class Reader:
    """Reads aloud from a task of its own, as fast as the media server takes it."""

    def __init__(self, call: Answering, frames: int) -> None:
        self._call = call
        self._frames = frames
        self._reading = asyncio.get_running_loop().create_task(self._read())

    def heard(self, event: Event) -> None:
        """Go on."""

    def closed(self, event: SessionClosed) -> None:
        """Stop."""
        self._reading.cancel()

    async def _read(self) -> None:
        call = self._call
        call.session.start_response(call.now(), "a book")
        for frame in utterance(self._frames):
            call.session.send_audio(frame, call.now())
            await asyncio.sleep(0)
            while call.congested():  # noqa: ASYNC110 # nobody tells when it is not any more
                await asyncio.sleep(0.001)
        call.session.end_response(call.now())


@pytest.mark.parametrize("plain", [False, True], ids=["our listener", "plain ASGI"])
@pytest.mark.parametrize("features", [(), ("session_resume",)])
async def test_an_agent_that_waits_for_a_slow_client(
    features: tuple[str, ...], *, plain: bool
) -> None:
    """One that looks at ``congested`` never has a client dropped, however slowly it reads."""
    count = 20_000
    async with (
        hosting(lambda call: Reader(call, count), plain=plain) as host,
        dialled(host.port) as peer,
    ):
        call = await peer.start("book", features=features)
        transport = peer.socket.transport
        for _ in range(10):
            transport.pause_reading()
            await asyncio.wait([asyncio.create_task(peer.settled())], timeout=0.05)
            transport.resume_reading()
            await asyncio.sleep(0)
        await peer.wait(lambda: len(call.items) == count + 2)
        assert numbers(await call.answer()) == list(range(count))
        await call.hang_up()
