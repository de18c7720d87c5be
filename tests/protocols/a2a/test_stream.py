"""Streams: one log, two ends, any cut (spec §1: SSE; §4: stream rules; §5: the end)."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.errors import PeerRefused
from palaver.model.content import Artifact, Message, TextPart
from palaver.model.events import (
    ArtifactUpdated,
    MessageReceived,
    StatusChanged,
    TaskCreated,
    TaskEvent,
)
from palaver.model.states import TaskState
from palaver.model.task import fold
from palaver.protocols import jsonrpc, sse
from palaver.protocols.a2a.commands import (
    ArtifactReceived,
    Dialect,
    Generation,
    MessageReplied,
    StatusReceived,
    TaskReceived,
)
from palaver.protocols.a2a.errors import InternalError, InvalidAgentResponse
from palaver.protocols.a2a.mapping import V01, V03, V10
from palaver.protocols.a2a.stream import ClientStream, Received, ServerStream

every_dialect = pytest.mark.parametrize(
    "spoken", [V10, V03, V01], ids=lambda dialect: str(dialect.generation)
)


def created(seq: int = 1) -> TaskCreated:
    """Return the first event."""
    return TaskCreated(
        seq=seq,
        at=0.0,
        conversation_id="c",
        agent_id="demo",
        message=Message(id="m", role="user", parts=(TextPart("hi"),)),
        principal="anyone",
        wire="a2a-1.0",
    )


def changed(seq: int, state: TaskState) -> StatusChanged:
    """Return a change to ``state``."""
    return StatusChanged(seq=seq, at=0.0, state=state)


def chunk(seq: int, text: str) -> ArtifactUpdated:
    """Return a chunk of the one artifact."""
    artifact = Artifact(id="a", parts=(TextPart(text),))
    return ArtifactUpdated(seq=seq, at=0.0, artifact=artifact, index=0, append=seq > 3)


def log(*texts: str) -> list[TaskEvent]:
    """Return the whole log of a task that answers ``texts``."""
    events: list[TaskEvent] = [created(), changed(2, TaskState.WORKING)]
    events += [chunk(seq, text) for seq, text in enumerate(texts, start=3)]
    return [*events, changed(len(events) + 1, TaskState.COMPLETED)]


def server(
    spoken: Dialect,
    *,
    close_when_interrupted: bool = True,
    history_length: int | None = None,
    cursor: int = 0,
) -> ServerStream:
    """Return the server's end."""
    return ServerStream(
        spoken,
        "r1",
        "c",
        "t",
        retry_ms=500,
        close_when_interrupted=close_when_interrupted,
        history_length=history_length,
        cursor=cursor,
    )


def blocks(stream: bytes) -> list[sse.ServerSentEvent]:
    """Decode what a server wrote."""
    return sse.Decoder().feed(stream)


def seqs(received: Sequence[Received]) -> list[int | None]:
    """Return the numbers of what came."""
    return [each.seq for each in received]


@every_dialect
def test_the_blocks_of_a_stream(spoken: Dialect) -> None:
    """Section 1: each block one response with the request's id; ``retry`` in the first alone."""
    end = server(spoken)
    events = blocks(end.receive(log("Hel", "lo")))
    assert [event.id for event in events] == ["1", "2", "3", "4", "5"]
    assert [event.retry_ms for event in events] == [500, None, None, None, None]
    responses = [jsonrpc.parse_response(event.data.encode()) for event in events]
    assert {response.id for response in responses} == {"r1"}
    assert end.closed
    assert end.cursor == 5


def test_the_bytes_of_a_block() -> None:
    """Section 1: ``id`` and ``retry`` stand in the block of their data."""
    end = server(V10, cursor=2)
    assert end.receive([chunk(3, "Hel")]) == (
        b'retry: 500\nid: 3\ndata: {"jsonrpc":"2.0","id":"r1","result":{"artifactUpdate":'
        b'{"taskId":"t","contextId":"c","artifact":{"artifactId":"a","parts":[{"text":"Hel"}]}}}}'
        b"\n\n"
    )
    assert end.heartbeat() == b": hb\n"
    assert end.bye() == b"retry: 500\n"


def test_events_at_or_below_the_cursor_are_skipped() -> None:
    """A reader that comes twice for the same events says them once."""
    end = server(V10, cursor=3)
    assert [event.id for event in blocks(end.receive(log("a", "b")[:4]))] == ["4"]
    assert end.receive(log("a", "b")[:4]) == b""
    assert not end.closed


@every_dialect
def test_a_stream_opens_with_the_task(spoken: Dialect) -> None:
    """Section 4, rule 3: first the snapshot, then what follows it, without gap or repetition."""
    events = log("Hel", "lo")
    end = server(spoken)
    client = ClientStream(spoken)
    opening = client.receive(end.open(fold("t", events[:3])))
    assert opening[-1].seq == end.cursor == client.cursor == 3
    assert seqs(client.receive(end.receive(events))) == [4, 5]
    assert (client.task_id, client.state, client.complete) == ("t", TaskState.COMPLETED, True)
    assert client.conversation_id == (None if spoken is V01 else "c")
    assert client.retry_ms == 500


@every_dialect
def test_a_finished_task_closes_at_once(spoken: Dialect) -> None:
    """Section 4, rule 2: closed at terminal states, also where the snapshot shows one."""
    end = server(spoken)
    client = ClientStream(spoken)
    received = client.receive(end.open(fold("t", log("a"))))
    assert end.closed
    assert client.complete
    assert received[-1].seq == client.cursor == 4
    last = received[-1].update
    assert isinstance(last, TaskReceived if spoken is V10 else StatusReceived)


@every_dialect
@pytest.mark.parametrize("close_when_interrupted", [True, False])
@pytest.mark.parametrize("state", [TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED])
def test_an_interrupted_task(
    spoken: Dialect,
    close_when_interrupted: bool,  # noqa: FBT001
    state: TaskState,
) -> None:
    """Sections 4 and 5: 1.0 closes where asked to; older ones whenever they say ``final``."""
    end = server(spoken, close_when_interrupted=close_when_interrupted)
    client = ClientStream(spoken)
    answered = MessageReceived(
        seq=4, at=0.0, message=Message(id="m2", role="user", parts=(TextPart("x"),))
    )
    events = [created(), changed(2, TaskState.WORKING), changed(3, state), answered]
    received = client.receive(end.receive(events))
    closes = close_when_interrupted or spoken.generation is not Generation.V10
    assert end.closed is closes
    assert seqs(received) == ([1, 2, 3] if closes else [1, 2, 3, 4])
    assert client.complete is (spoken.generation is not Generation.V10)
    assert client.state is (state if closes else TaskState.WORKING)


def test_nothing_follows_the_end() -> None:
    """Section 4, rule 2: what closes the stream is the last of it."""
    end = server(V10)
    end.receive(log("a"))
    assert end.receive([chunk(5, "late")]) == b""


@pytest.mark.parametrize(("length", "shown"), [(None, 1), (0, 0), (5, 1)])
def test_the_history_that_was_asked_for(length: int | None, shown: int) -> None:
    """Section 4, historyLength: unset = all of it, 0 = none; in snapshots and in replays."""
    for write in (
        server(V10, history_length=length).open(fold("t", [created()])),
        server(V10, history_length=length).receive([created()]),
    ):
        (event,) = blocks(write)
        assert len(orjson.loads(event.data)["result"]["task"].get("history", [])) == shown


class MuteDialect:
    """Speaks 1.0, but has no word for artifacts."""

    generation = V10.generation
    stream_task = V10.stream_task

    def stream_event(self, task_id: str, conversation_id: str, event: TaskEvent) -> bytes | None:
        """Return nothing for an artifact."""
        if isinstance(event, ArtifactUpdated):
            return None
        return V10.stream_event(task_id, conversation_id, event)


def test_an_event_without_a_word_moves_the_cursor() -> None:
    """What a generation cannot say is passed over, not said again and again."""
    end = server(MuteDialect())  # type: ignore[arg-type]
    assert [event.id for event in blocks(end.receive(log("a")))] == ["1", "2", "4"]
    assert end.cursor == 4


@every_dialect
def test_a_stream_ends_with_an_error(spoken: Dialect) -> None:
    """Section 1: errors after the first event are one last ``data:`` with ``error``.

    What came before it in the same bytes is not lost.
    """
    end = server(spoken)
    client = ClientStream(spoken)
    stream = end.receive(log("a")[:2]) + end.fail(InternalError())
    assert end.closed
    assert seqs(client.receive(stream)) == [1, 2]
    for _ in range(2):
        with pytest.raises(PeerRefused, match=r"^Internal error \(code -32603\)$"):
            client.receive(b"")
    assert not client.complete
    client.reconnect()
    assert seqs(client.receive(server(spoken, cursor=2).receive(log("a")))) == [3, 4]


def test_an_error_that_comes_first() -> None:
    """A stream may begin with its error; the hint to come back is in it."""
    data = server(V03).fail(InternalError("x"))
    (event,) = blocks(data)
    assert (event.id, event.retry_ms) == (None, 500)
    with pytest.raises(PeerRefused):
        ClientStream(V03).receive(data)


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"data: x\n\n", "the response is not JSON"),
        (b"data: {}\n\n", "neither result nor error is there"),
        (b'data: {"result":{"kind":"poem"}}\n\n', "kind must be"),
        (b"data: " + b"x" * 200, "an event has more than 100 bytes"),
    ],
)
def test_what_is_no_event(stream: bytes, text: str) -> None:
    """A client tells what its peer sent instead of an event."""
    with pytest.raises(InvalidAgentResponse, match=text):
        ClientStream(V03, max_event_bytes=100).receive(stream)


@pytest.mark.parametrize("event_id", ["", "x", "1.5", "-1", "²", "9" * 19])
def test_ids_of_other_peers(event_id: str) -> None:
    """Ids that are no numbers of ours number nothing, and hold nothing back."""
    data = b'data: {"id":1,"result":{"kind":"task","id":"t","contextId":"c","status":'
    block = b"id: " + event_id.encode() + b"\n" + data + b'{"state":"working"}}}\n\n'
    client = ClientStream(V03)
    assert seqs(client.receive(block + block)) == [None, None]
    assert client.cursor == 0


def test_a_reply_without_a_task() -> None:
    """Section 4, rule 1: exactly one Message, then close."""
    client = ClientStream(V10)
    message = b'{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"hi"}],"contextId":"c"}'
    (received,) = client.receive(b'data: {"id":1,"result":{"message":%b}}\n\n' % message)
    assert isinstance(received.update, MessageReplied)
    assert client.complete
    assert (client.task_id, client.conversation_id) == (None, "c")


def every_text(received: Sequence[Received]) -> str:
    """Join the chunks of what came."""
    return "".join(
        each.update.artifact.text for each in received if isinstance(each.update, ArtifactReceived)
    )


@every_dialect
def test_a_stream_cut_at_every_byte(spoken: Dialect) -> None:
    """Dropped anywhere and resumed at the cursor: every event exactly once."""
    events = log("Hel", "lo", " wörld")
    whole = server(spoken).receive(events)
    for cut in range(len(whole) + 1):
        client = ClientStream(spoken)
        received = client.receive(whole[:cut])
        client.reconnect()
        received += client.receive(server(spoken, cursor=client.cursor).receive(events))
        assert seqs(received) == [1, 2, 3, 4, 5, 6]
        assert every_text(received) == "Hello wörld"
        assert client.complete


@every_dialect
@given(data=st.data(), texts=st.lists(st.text(max_size=5), min_size=1, max_size=8))
def test_many_drops_and_any_chunks(spoken: Dialect, data: st.DataObject, texts: list[str]) -> None:
    """However often it drops, however it is cut, whatever is repeated: exactly once, in order."""
    events = log(*texts)
    client = ClientStream(spoken)
    received: list[Received] = []
    for drop in range(100):
        # A server may also repeat what the client has seen; after some drops it holds.
        cursor = data.draw(st.integers(0, client.cursor))
        stream = server(spoken, cursor=cursor).receive(events) + sse.HEARTBEAT
        length = len(stream) if drop > 4 else data.draw(st.integers(0, len(stream)))
        size = data.draw(st.integers(1, 40))
        for start in range(0, length, size):
            received += client.receive(stream[start : min(start + size, length)])
        if client.complete:
            break
        client.reconnect()
    assert seqs(received) == [event.seq for event in events]
    assert every_text(received) == "".join(texts)
