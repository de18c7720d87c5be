"""Frames told apart: as websockets alone would do it, however they come."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from palaver.server.websocket_inbox import Inbox, Message, Unread
from tests.server.sockets import BINARY, CLOSE, CONT, PING, PONG, TEXT, close, frame

MAX = 70_000

payloads = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([125, 126, 127, 332, 65_535, 65_536, MAX, MAX + 1]).map(bytes),
)
frames = st.one_of(
    st.builds(frame, st.sampled_from([TEXT, BINARY]), payloads),
    st.builds(
        frame, st.sampled_from([TEXT, BINARY, CONT, CONT, CONT]), payloads, fin=st.booleans()
    ),
    st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=126)),
    st.builds(frame, st.integers(0, 15), st.binary(max_size=3), masked=st.booleans()),
    st.builds(close, st.integers(999, 1016), st.text(max_size=3)),
    st.just(frame(CLOSE)),
    st.binary(max_size=5),
)


@dataclass
class Seen:
    """What became of some bytes."""

    messages: list[Message] = field(default_factory=list)
    control: list[tuple[Opcode, bytes]] = field(default_factory=list)
    failed: bool = False


def by_us(pieces: list[bytes]) -> Seen:
    """Read the pieces."""
    seen, inbox = Seen(), Inbox()
    conn = ServerProtocol(state=State.OPEN, max_size=MAX)

    def on_control(one: Frame) -> None:
        seen.control.append((one.opcode, bytes(one.data)))

    unread = Unread(conn, inbox, MAX, on_control)
    for piece in pieces:
        if conn.parser_exc is not None or conn.close_rcvd is not None:
            break
        unread.feed(piece)
        more = True
        while more:
            more = unread.read()
            seen.messages += inbox.take()
    seen.failed = conn.parser_exc is not None
    return seen


def by_websockets(pieces: list[bytes]) -> Seen:
    """Read the pieces without us; texts are checked here, since websockets leaves that to users."""
    seen = Seen()
    conn = ServerProtocol(state=State.OPEN, max_size=MAX)
    parts: list[bytes] = []
    text = False
    for piece in pieces:
        conn.receive_data(piece)
        for one in conn.events_received():
            assert isinstance(one, Frame)
            if one.opcode >= Opcode.CLOSE:
                seen.control.append((one.opcode, bytes(one.data)))
                continue
            text = text if one.opcode is Opcode.CONT else one.opcode is Opcode.TEXT
            parts.append(bytes(one.data))
            if one.fin:
                whole = b"".join(parts)
                parts.clear()
                try:
                    seen.messages.append(whole.decode() if text else whole)
                except UnicodeDecodeError:
                    seen.failed = True
                    return seen
        if conn.parser_exc is not None:
            seen.failed = True
            break
    return seen


@given(sent=st.lists(frames, max_size=12), sizes=st.lists(st.integers(1, 40_000), max_size=20))
@example(sent=[frame(BINARY, bytes(MAX), fin=False), frame(CONT, b"a")], sizes=[])
@example(sent=[frame(BINARY, b"a", fin=False), frame(CONT, bytes(MAX - 1))], sizes=[])
@example(sent=[frame(TEXT, b"a")] * 12 + [frame(TEXT, b"\xff"), frame(TEXT, b"b")], sizes=[1] * 20)
def test_bytes_of_every_kind(sent: list[bytes], sizes: list[int]) -> None:
    """The same messages, the same control frames, the same failures as with websockets alone."""
    data, pieces = b"".join(sent), []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    pieces = [piece for piece in [*pieces, data] if piece]
    ours, theirs = by_us(pieces), by_websockets(pieces)
    assert ours.messages == theirs.messages
    assert ours.control == theirs.control
    # A head that says enough need not be followed by its payload.
    assert ours.failed >= theirs.failed


def test_the_turn_of_others() -> None:
    """No more than 256 frames are read at once, of whatever kind; the rest is read later."""
    inbox, seen = Inbox(), []
    conn = ServerProtocol(state=State.OPEN, max_size=MAX)
    unread = Unread(conn, inbox, MAX, seen.append)
    unread.feed(frame(PING) * 300 + frame(CONT)[:1])
    assert unread.read()
    assert len(seen) == 256
    assert not unread.read()
    assert len(seen) == 300
    assert len(unread) == 1


def test_a_full_inbox() -> None:
    """By bytes or by number: it takes what makes it full, and is full until it is empty."""
    for payload, count in ((bytes(30_000), 3), (b"", 256)):
        inbox = Inbox()
        unread = Unread(ServerProtocol(state=State.OPEN), inbox, MAX, lambda _: None)
        unread.feed(frame(BINARY, payload) * 500)
        assert unread.read()
        assert inbox.full
        assert len(inbox.take()) == count
        assert not inbox.full
