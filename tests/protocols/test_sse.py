"""Server-sent events (the HTML standard, 9.2; spec §1 for what is safe to write)."""

from __future__ import annotations

import pytest
from httpx_sse._decoders import SSEDecoder
from hypothesis import given
from hypothesis import strategies as st

from palaver.protocols import sse
from palaver.protocols.sse import Decoder, ServerSentEvent, SseError


def decode(stream: bytes) -> list[ServerSentEvent]:
    """Decode the whole of a stream in one chunk."""
    return Decoder().feed(stream)


def test_blocks_are_written_as_the_strictest_reader_needs_them() -> None:
    """Section 1: id and retry share the block of their data; other lines end no block."""
    assert sse.encode_block(b"{}") == b"data: {}\n\n"
    assert sse.encode_block(b"{}", 3) == b"id: 3\ndata: {}\n\n"
    assert sse.encode_block(b"{}", 3, 500) == b"retry: 500\nid: 3\ndata: {}\n\n"
    assert sse.encode_block(b"a\nb\r\nc\rd\n") == (
        b"data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"
    )
    assert sse.HEARTBEAT == b": hb\n"
    assert sse.retry_hint(1500) == b"retry: 1500\n"


def test_another_reader_dispatches_no_empty_event() -> None:
    """Section 1, the measured trap: httpx-sse sees data in each event that it dispatches."""
    stream = (
        sse.encode_block(b"1", 1, 500)
        + sse.HEARTBEAT
        + sse.encode_block(b"2", 2)
        + sse.HEARTBEAT
        + sse.retry_hint(1000)
    )
    decoder = SSEDecoder()
    events = [event for line in stream.decode().split("\n")[:-1] if (event := decoder.decode(line))]
    assert [(event.data, event.id) for event in events] == [("1", "1"), ("2", "2")]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [ServerSentEvent("a")]),
        (b"data:a\r\n\r\n", [ServerSentEvent("a")]),
        (b"data: a\r\r", [ServerSentEvent("a")]),
        (b"data:  a\n\n", [ServerSentEvent(" a")]),
        (b"data: a\ndata: b\n\n", [ServerSentEvent("a\nb")]),
        (b"data\n\n", [ServerSentEvent("")]),
        (b"data:\ndata\n\n", [ServerSentEvent("\n")]),
        (
            b"event: add\ndata: a\n\ndata: b\n\n",
            [ServerSentEvent("a", "add"), ServerSentEvent("b")],
        ),
        (b"id: 1\ndata: a\n\ndata: b\n\n", [ServerSentEvent("a", id="1"), ServerSentEvent("b")]),
        (b"id\ndata: a\n\n", [ServerSentEvent("a", id="")]),
        (b"id: 1\0\ndata: a\n\n", [ServerSentEvent("a")]),
        (b"retry: 10\ndata: a\n\n", [ServerSentEvent("a", retry_ms=10)]),
        (b"retry: 1.5\nretry: \nretry: -1\ndata: a\n\n", [ServerSentEvent("a")]),
        (b"retry: 9999999999\ndata: a\n\n", [ServerSentEvent("a")]),
        (b": comment\n\nid: 4\n\nevent: x\n\nretry: 1\n\n\n\n", []),
        (b"unknown: x\nDATA: y\ndata: a\n\n", [ServerSentEvent("a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [ServerSentEvent("a")]),
        (b"\n\xef\xbb\xbfdata: a\n\n", []),
        (b"data: \xff\n\n", [ServerSentEvent("\ufffd")]),
        (b"data: \xe2\x80\xa8\x0b\x0c\n\n", [ServerSentEvent("\u2028\x0b\x0c")]),
        (b"data: a\n", []),
        (b"data: a", []),
    ],
)
def test_a_stream_is_read_as_the_standard_says(
    stream: bytes, events: list[ServerSentEvent]
) -> None:
    """9.2.6: fields, line ends, the byte order mark, and what dispatches nothing.

    A byte at a time gives the same.
    """
    assert decode(stream) == events
    decoder = Decoder()
    assert [event for byte in stream for event in decoder.feed(bytes([byte]))] == events


def test_a_split_line_end_is_one_line_end() -> None:
    """A CR at the end of a chunk ends its line at once; the LF of the next belongs to it."""
    decoder = Decoder()
    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\n\r") == [ServerSentEvent("a")]
    assert decoder.feed(b"\ndata: b\n\n") == [ServerSentEvent("b")]


def test_the_decoder_knows_where_to_resume() -> None:
    """9.2.6: the last id holds over blocks without one; retry counts at once."""
    decoder = Decoder()
    assert (decoder.last_event_id, decoder.retry_ms) == ("", None)
    decoder.feed(b"retry: 20\nid: 7\n")
    assert (decoder.last_event_id, decoder.retry_ms) == ("", 20)
    decoder.feed(b"\ndata: x\n\n")
    assert decoder.last_event_id == "7"
    decoder.feed(b"retry: 30\n")
    assert decoder.retry_ms == 30


def test_an_event_has_a_limit() -> None:
    """Neither one long line nor many short ones grow without end."""
    assert Decoder(max_event_bytes=20).feed(b"data: 0123456789\n\n" * 5)
    with pytest.raises(SseError, match=r"^an event has more than 20 bytes, which is the limit$"):
        Decoder(max_event_bytes=20).feed(b"data: a\n" * 20)
    decoder = Decoder(max_event_bytes=20)
    for _ in range(20):
        assert decoder.feed(b"x") == []
    with pytest.raises(SseError):
        decoder.feed(b"x")
    with pytest.raises(SseError):
        Decoder(max_event_bytes=20).feed(b"data: 0123456789\n: 0123456789")


@given(st.data(), st.lists(st.tuples(st.text(), st.none() | st.integers(0, 2**40))))
def test_events_survive_any_chunking(
    data: st.DataObject, blocks: list[tuple[str, int | None]]
) -> None:
    """What is written comes back, wherever the bytes are cut."""
    stream = b"".join(
        sse.encode_block(text.encode(), event_id) + sse.HEARTBEAT for text, event_id in blocks
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    decoder = Decoder()
    events: list[ServerSentEvent] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += decoder.feed(stream[start:end])
    assert events == [
        ServerSentEvent(
            text.replace("\r\n", "\n").replace("\r", "\n"),
            id=None if event_id is None else str(event_id),
        )
        for text, event_id in blocks
    ]


@given(st.text(alphabet="dati:e\r\n\0 \ufeff1", max_size=60), st.integers(1, 7))
def test_any_stream_reads_the_same_in_any_chunks(text: str, size: int) -> None:
    """The events depend on the bytes alone, not on where they are cut."""
    stream = text.replace("d", "data").replace("i", "id").replace("t", "retry").encode()
    decoder = Decoder()
    events = [
        event
        for start in range(0, len(stream), size)
        for event in decoder.feed(stream[start : start + size])
    ]
    assert events == decode(stream)
