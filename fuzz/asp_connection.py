"""Fuzz both ends of ASP: a call whose messages are damaged on their way, on sockets that drop.

The bytes are a program: what each side does, when sockets drop, and what becomes of the messages.
With atheris installed: ``python fuzz/asp_connection.py [libFuzzer options]``. Without it, or with
``--runs N``: that many random programs, mutated from good ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

import target

from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import AudioConfig, Framing, VADConfig
from palaver.protocols.asp.errors import Misuse
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import AudioSpeechEndMessage, Side
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.states import LinkState, SessionState
from palaver.testing.asp_pair import AspPair

FRAMINGS = (None, *Framing)
FRAME = bytes(320)
WORDS = ('"', "null", "[", "{", "}", "1e9", "-1", "99999999999999999999", "\\u0000", "s1", "")
SEEDS = [
    bytes(range(64)),
    bytes([7, 0, 0, 1, 8, 0, 2, 8, 0, 16, 0, 17, 0, 3, 0, 18, 40, 19, 40, 16, 0]),
    bytes([4, 0, 10, 0, 18, 9, 20, 0, 23, 0, 18, 9, 19, 9, 10, 0, 5, 0, 18, 9, 19, 9]),
    bytes([0, 0, 0, 16, 1, 16, 21, 0, 22, 3, 23, 0, 18, 1, 21, 0, 23, 0, 18, 9, 19, 9, 22, 9]),
    bytes([24, 0, 18, 90, 19, 90, 25, 6, 18, 60, 19, 60, 6, 0, 14, 0, 18, 255, 19, 255]),
]


class Call:
    """Two sessions, and the program that says what happens to them."""

    def __init__(self, program: bytes) -> None:
        self.code = iter(program)
        self.pair = AspPair(
            limits=Limits(max_kept_messages=8, max_audio_lead=5.0, max_session_seconds=900.0)
        )
        for number in range(2):
            audio = AudioConfig(framing=FRAMINGS[self.next() % 4])
            self.pair.open(SessionRequest(session_id=f"s{number}", audio=audio))
        self.pair.tamper = self.damage

    def next(self) -> int:
        """Return the next byte of the program; after its end, zeros."""
        return next(self.code, 0)

    def damage(self, _sender: Side, message: str | bytes) -> Iterator[str | bytes]:
        """Yield what becomes of a message on its way: most arrive as they are."""
        what = self.next()
        if what < 200:
            yield message
        elif what < 210:
            yield from (message, message)
        elif what < 250:
            start, length = self.next(), self.next() % 16
            start %= len(message) + 1
            if isinstance(message, str):
                yield message[:start] + WORDS[self.next() % len(WORDS)] + message[start + length :]
            else:
                piece = bytes(islice(self.code, self.next() % 8))
                yield message[:start] + piece + message[start + length :]

    def step(self, what: int, how: int) -> None:
        """Do one thing."""
        pair = self.pair
        if what < 18:
            with suppress(Misuse, LookupError):
                self.speak(what, how)
        elif what < 20:
            pair.socket.deliver(Side.SERVER if what == 18 else Side.CLIENT, how)
        elif what == 20:
            pair.drop(how % 4, how // 4 % 4)
        elif what == 21:
            pair.drop(how % 4, how // 4 % 4, half_dead=True)
        elif what == 22:
            ghost = pair.sockets[how % len(pair.sockets)]
            ghost.deliver(Side.SERVER, how % 5)
            if how > 128:
                ghost.end(Side.SERVER)
        elif what == 23:
            if pair.client.state is LinkState.CLOSED or pair.client.closing is not None:
                pair.drop()
                with suppress(Misuse):  # the capabilities may have been damaged
                    pair.reconnect()
        elif what == 24:
            pair.wait((0.02, 1.0, 6.0, 31.0, 301.0)[how % 5])
        else:
            with suppress(Misuse):
                name, audio = f"s{how % 4}", AudioConfig(framing=FRAMINGS[how % 4])
                pair.request(SessionRequest(session_id=name, audio=audio, negotiation="adjust"))

    def speak(self, what: int, how: int) -> None:
        """Have one side do something in its session."""
        name = f"s{how % 4}"
        if what % 2:
            commands = agent_commands(self.pair.agent(name), self.pair.now, how)
        else:
            commands = caller_commands(self.pair.calls[name], self.pair.now, how)
        commands[what // 2 % len(commands)]()

    def rest(self) -> None:
        """Let it come to rest, and see that nothing is left."""
        self.pair.pump()
        self.pair.wait(2_000.0)
        self.pair.pump()
        assert len(self.pair.registry) == 0
        for socket in self.pair.sockets:
            assert socket.server.sessions == {}
            waiting = [one for one in socket.client.sessions.values() if one.waiting is not None]
            assert waiting == []
        for session in self.pair.calls.values():
            over = session.state is SessionState.CLOSED
            assert over or len(session.outgoing.since(0)) <= 8


def caller_commands(call: ClientSession, now: float, how: int) -> list[Callable[[], object]]:
    """Return what a media server may do."""
    speech = AudioSpeechEndMessage(session_id=call.id, duration_ms=how, discarded=how % 2 == 1)
    vad = VADConfig(threshold=how / 255)
    return [
        lambda: call.send_audio(FRAME * (1 + how % 10), now),
        lambda: call.commit(now),
        lambda: call.update(vad, now),
        lambda: call.update(vad, now, for_turn=True),
        lambda: call.report_speech(speech, now),
        lambda: call.cancel_response(f"r{how % 3}", how, now),
        lambda: call.press("#", now, how),
        lambda: call.send_audio(FRAME, now, FrameFlags.DTX),
        lambda: call.end(now, "hangup") if how > 192 else call.commit(now),
    ]


def agent_commands(call: ServerSession, now: float, how: int) -> list[Callable[[], object]]:
    """Return what an agent may do."""
    speech = AudioSpeechEndMessage(session_id=call.id, duration_ms=how)
    return [
        lambda: call.start_response(now, "hello"),
        lambda: call.send_audio(FRAME * (1 + how % 10), now),
        lambda: call.end_response(now),
        lambda: call.mark(now),
        lambda: call.override_turn(VADConfig(threshold=how / 255), now),
        lambda: call.act("transfer", now, target="desk"),
        lambda: call.report_speech(speech, now),
        lambda: call.send_audio(FRAME, now, FrameFlags.FINAL),
        lambda: call.end(now, "hangup") if how > 192 else call.fail(now, "broke"),
    ]


def check(program: bytes) -> None:
    """Hold that no program raises, leaves a session behind, or has the two ends talk for ever."""
    call = Call(program)
    for what in call.code:
        call.step(what % 26, call.next())
    call.rest()


if __name__ == "__main__":
    sys.exit(target.run(check, SEEDS))
