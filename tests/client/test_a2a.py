"""The client against peers that misbehave: it comes back where it was, or says why it gave up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import structlog

from palaver.client.a2a import A2aClient
from palaver.client.transport import Patience
from palaver.engine.clock import new_id
from palaver.errors import PeerError, PeerRefused, PeerUnreachable
from palaver.model.content import TextPart
from palaver.model.states import TaskState
from palaver.observability.logging import configure_logging
from palaver.protocols.a2a.commands import Generation, MessageReplied, TaskReceived
from palaver.protocols.a2a.stream import Received
from tests.client.peers import (
    COMPLETED,
    SUBMITTED,
    TASK,
    Step,
    Visit,
    block,
    chunk,
    drop,
    error,
    finish,
    peer,
    whole,
)

QUICK = Patience(first_delay=0.001, max_delay=0.01, give_up_after=0.1, silence_timeout=2.0)
STEADY = Patience(first_delay=0.001, max_delay=0.01, give_up_after=10.0, silence_timeout=2.0)
FINISHED = {**TASK, "status": {"state": "TASK_STATE_COMPLETED"}}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Leave out what the client logs of each drop."""
    before = structlog.get_config()
    configure_logging("critical")
    yield
    structlog.configure(**before)


@asynccontextmanager
async def client_of(
    url: str, patience: Patience = STEADY, generation: Generation = Generation.V10
) -> AsyncIterator[A2aClient]:
    """Make a client."""
    async with (
        asyncio.timeout(20),
        A2aClient(url, generation, ids=new_id, patience=patience) as client,
    ):
        yield client


async def seen(client: A2aClient) -> list[Received]:
    """Return all that a message streams."""
    return [received async for received in client.stream("hi")]


async def half(visit: Visit) -> None:
    """Tell two events, and half of the third."""
    third = block(chunk(" b"), 3)
    await visit.stream(block(SUBMITTED, 1), block(chunk("a"), 2), third[: len(third) // 2])


async def reset(visit: Visit) -> None:
    """Tell two events, then reset the connection."""
    await visit.stream(block(SUBMITTED, 1), block(chunk("a"), 2))
    visit.writer.transport.abort()


async def half_headers(visit: Visit) -> None:
    """Stop within the headers."""
    await visit.send(b"HTTP/1.1 200 OK\r\nContent-Ty")


async def silent_stream(visit: Visit) -> None:
    """Tell two events, then nothing for ever."""
    await visit.stream(block(SUBMITTED, 1), block(chunk("a"), 2))
    await visit.silence()


async def silent(visit: Visit) -> None:
    """Say nothing for ever."""
    await visit.silence()


async def goodbye(visit: Visit) -> None:
    """Tell two events, then that the client should come back."""
    await visit.stream(block(SUBMITTED, 1, retry=5), block(chunk("a"), 2), b"retry: 3\n")


async def again_from_the_start(visit: Visit) -> None:
    """Ignore the cursor."""
    await whole(visit)


@pytest.mark.parametrize("broken", [half, reset, silent_stream, goodbye])
@pytest.mark.parametrize("rest", [finish, again_from_the_start])
async def test_a_stream_that_breaks_is_taken_up_again(broken: Step, rest: Step) -> None:
    """Each event comes once, whatever broke, also from a peer that ignores the cursor."""
    patience = Patience(first_delay=0.001, max_delay=0.01, give_up_after=10, silence_timeout=0.1)
    async with peer(broken, drop, rest) as met, client_of(met.url, patience) as client:
        received = await seen(client)
    assert [one.seq for one in received] == [1, 2, 3, 4]
    assert met.methods == ["SendStreamingMessage", "SubscribeToTask", "SubscribeToTask"]
    assert met.cursors == [None, "2", "2"]
    assert met.visits[1].request["params"] == {"id": "T"}


@pytest.mark.parametrize("broken", [drop, half_headers])
async def test_a_message_that_nobody_confirmed_is_sent_again(broken: Step) -> None:
    """Before the first event the same message goes out again, under the same id."""
    async with peer(broken, broken, whole) as met, client_of(met.url) as client:
        received = await seen(client)
    assert [one.seq for one in received] == [1, 2, 3, 4]
    assert met.methods == ["SendStreamingMessage"] * 3
    ids = {visit.request["params"]["message"]["messageId"] for visit in met.visits}
    assert len(ids) == 1


async def test_in_0_1_the_task_keeps_its_id() -> None:
    """The client makes the id of a task of 0.1, and repeats it."""
    async with peer(drop, drop) as met, client_of(met.url, QUICK, Generation.V01) as client:
        with pytest.raises(PeerUnreachable):
            await seen(client)
    assert len({visit.request["params"]["id"] for visit in met.visits}) == 1
    assert "a2a-version" not in met.visits[0].headers


@pytest.mark.parametrize("status", ["503 Busy", "429 Slow", "502 Bad", "504 Late"])
@pytest.mark.parametrize("wait", ["0", "soon", ""])
async def test_a_peer_that_is_busy(status: str, wait: str) -> None:
    """A peer that is busy is asked again, after the time that it names."""

    async def busy(visit: Visit) -> None:
        await visit.answer(b"busy", status, "text/plain", Retry_After=wait)

    async with peer(busy, busy, whole) as met, client_of(met.url) as client:
        assert [one.seq for one in await seen(client)] == [1, 2, 3, 4]


@pytest.mark.parametrize("broken", [drop, half_headers, silent])
async def test_a_peer_that_is_lost(broken: Step) -> None:
    """After ``give_up_after`` without news the peer counts as lost."""
    patience = Patience(first_delay=0.01, max_delay=0.02, give_up_after=0.15, silence_timeout=0.05)
    async with peer(broken) as met, client_of(met.url, patience) as client:
        with pytest.raises(PeerUnreachable, match=f"^{met.url} is lost after [0-9]+ tries: "):
            await seen(client)
    assert len(met.visits) > 1


async def test_nobody_there() -> None:
    """A refused connection is no peer, for each kind of question."""
    async with peer(drop) as met:
        url = met.url
    async with client_of(url, QUICK) as client:
        with pytest.raises(PeerUnreachable, match="is lost after"):
            await seen(client)
        for ask in (client.send("hi"), client.get("T"), client.cancel("T")):
            with pytest.raises(PeerUnreachable, match=f"^{url} does not answer: "):
                await ask


BAD_ANSWERS = [
    (b"<html>no</html>", "200 OK", "text/html", PeerError, "answered what is no JSON-RPC: "),
    (b"<html>no</html>", "404 No", "text/html", PeerRefused, "answered HTTP 404: <html>no</html>"),
    (b"", "500 Oh", "text/plain", PeerRefused, "answered HTTP 500:  "),
    (b"\xff" * 999, "500 Oh", "text/plain", PeerRefused, "answered HTTP 500: "),
    (b"", "301 Moved", "text/html", PeerRefused, "answered HTTP 301: "),
    (b"{}", "200 OK", "application/json", PeerError, "answered what is no JSON-RPC: neither"),
    (b'{"error":"no"}', "401 No", "application/json", PeerRefused, "HTTP 401: {"),
    (error(-32001, "gone"), "200 OK", "application/json", PeerRefused, r"^gone \(code -32001\)$"),
    (error(-32700, "bad"), "400 Bad", "application/json", PeerRefused, r"^bad \(code -32700\)$"),
    (b'{"result":{}}', "200 OK", "application/json", PeerError, "Invalid agent response"),
    (b'{"result":[]}', "200 OK", "application/json", PeerError, "Invalid agent response"),
]


@pytest.mark.parametrize(("body", "status", "media_type", "raised", "text"), BAD_ANSWERS)
async def test_answers_that_are_none(
    body: bytes, status: str, media_type: str, raised: type[PeerError], text: str
) -> None:
    """An answer that is none is told as it came, in a few words, and is not asked for again."""

    async def bad(visit: Visit) -> None:
        await visit.answer(body, status, media_type)

    async with peer(bad) as met, client_of(met.url) as client:
        with pytest.raises(raised, match=text) as on_stream:
            await seen(client)
        with pytest.raises(raised, match=text):
            await client.send("hi")
    assert len(str(on_stream.value)) < 400
    assert met.methods == ["SendStreamingMessage", "SendMessage"]


BAD_BLOCKS = [
    (b"data: {}\n\n", "neither result nor error"),
    (b"data: <html>\n\n", "is not JSON"),
    (b"data: \n\n", "is not JSON"),
    (block({"task": {}}), "Invalid agent response"),
    (block({"kind": "tune"}), "Invalid agent response"),
]


@pytest.mark.parametrize(("bad", "text"), BAD_BLOCKS)
async def test_blocks_that_are_none(bad: bytes, text: str) -> None:
    """What came before a block that is none is told; then the client says what was wrong."""

    async def stream(visit: Visit) -> None:
        await visit.stream(block(SUBMITTED, 1) + bad)

    async with peer(stream) as met, client_of(met.url) as client:
        news = client.stream("hi")
        assert (await anext(news)).seq == 1
        with pytest.raises(PeerError, match=text):
            await anext(news)
    assert len(met.visits) == 1


async def test_an_event_that_is_too_large() -> None:
    """An event that never ends is not read for ever."""

    async def endless(visit: Visit) -> None:
        await visit.stream(b"data: ")
        while True:
            await visit.send(b"x" * 1_000_000)

    async with peer(endless) as met, client_of(met.url) as client:
        with pytest.raises(PeerError, match="which is the limit"):
            await seen(client)


async def test_an_error_on_the_stream() -> None:
    """An error in a block is what the peer refuses, where the task has not ended."""

    async def refuse(visit: Visit) -> None:
        if visit.request["method"] == "GetTask":
            await visit.answer(b'{"jsonrpc":"2.0","id":1,"result":' + working + b"}")
        await visit.stream(block(SUBMITTED, 1), b"data: " + error(-32603, "oh") + b"\n\n")

    working = b'{"id":"T","contextId":"C","status":{"state":"TASK_STATE_WORKING"}}'
    async with peer(refuse) as met, client_of(met.url) as client:
        with pytest.raises(PeerRefused, match="oh") as refusal:
            await seen(client)
    assert refusal.value.code == -32603
    assert met.methods == ["SendStreamingMessage", "GetTask"]


async def test_a_task_that_ended_while_nobody_looked() -> None:
    """A task that cannot be followed any more is asked for, and its end is told."""

    async def gone(visit: Visit) -> None:
        await visit.answer(error(-32004, "nothing to follow"))

    async def ended(visit: Visit) -> None:
        state = b'"TASK_STATE_COMPLETED"'
        await visit.answer(
            b'{"jsonrpc":"2.0","id":1,"result":{"id":"T","status":{"state":' + state + b"}}}"
        )

    async with peer(half, gone, ended) as met, client_of(met.url) as client:
        received = await seen(client)
    last = received[-1].update
    assert isinstance(last, TaskReceived)
    assert last.state is TaskState.COMPLETED
    assert met.methods == ["SendStreamingMessage", "SubscribeToTask", "GetTask"]


async def test_a_peer_that_does_not_stream() -> None:
    """A whole answer instead of a stream is the last that comes."""

    async def plain(visit: Visit) -> None:
        await visit.answer(block({"task": FINISHED}).removeprefix(b"data: "))

    async with peer(plain) as met, client_of(met.url) as client:
        (only,) = await seen(client)
    assert isinstance(only.update, TaskReceived)
    assert only.seq is None


async def test_a_peer_that_answers_with_a_message() -> None:
    """A message instead of a task ends the stream."""
    message = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "hello"}]}

    async def say(visit: Visit) -> None:
        await visit.stream(block({"message": message}))

    async with peer(say) as met, client_of(met.url) as client:
        (only,) = await seen(client)
    assert isinstance(only.update, MessageReplied)
    assert only.update.message.parts == (TextPart("hello"),)


async def test_a_question_ends_the_stream_of_a_sender() -> None:
    """A stream that ends with a question is whole: nobody comes back for more."""
    waiting = {"state": "TASK_STATE_INPUT_REQUIRED"}
    status = {"statusUpdate": {"taskId": "T", "contextId": "C", "status": waiting}}

    async def ask(visit: Visit) -> None:
        await visit.stream(block(SUBMITTED, 1), block(status, 2))

    async with peer(ask) as met, client_of(met.url) as client:
        assert [one.seq for one in await seen(client)] == [1, 2]
    assert len(met.visits) == 1


async def test_heartbeats_keep_a_stream() -> None:
    """A stream with heartbeats is not taken for dead."""

    async def beat(visit: Visit) -> None:
        await visit.stream(block(SUBMITTED, 1))
        for _ in range(6):
            await asyncio.sleep(0.05)
            await visit.send(b": hb\n")
        await visit.send(b"\n", block(COMPLETED, 2))

    patience = Patience(silence_timeout=0.2, give_up_after=5.0)
    async with peer(beat) as met, client_of(met.url, patience) as client:
        assert [one.seq for one in await seen(client)] == [1, 2]
    assert len(met.visits) == 1


async def test_news_renew_the_patience() -> None:
    """Only tries that bring nothing count: a peer that drops after each event is followed."""

    def tell(number: int) -> Step:
        async def step(visit: Visit) -> None:
            first = block(SUBMITTED, 1) if number == 1 else block(chunk(str(number)), number)
            await visit.stream(first if number < 12 else block(COMPLETED, 12))

        return step

    patience = Patience(first_delay=0.02, max_delay=0.02, give_up_after=0.15)
    steps = [tell(number) for number in range(1, 13)]
    async with peer(*steps) as met, client_of(met.url, patience) as client:
        assert [one.seq for one in await seen(client)] == list(range(1, 13))
    assert met.cursors == [None, *(str(number) for number in range(1, 12))]


async def test_resume_begins_at_its_cursor() -> None:
    """``resume`` asks behind the event that it is given."""
    async with peer(finish) as met, client_of(met.url) as client:
        assert [one.seq async for one in client.resume("T", 2)] == [3, 4]
    assert met.cursors == ["2"]


async def test_a_client_that_is_given_its_http_leaves_it_open() -> None:
    """What a client did not make it does not close."""
    async with peer(whole) as met, client_of(met.url) as owner:
        async with A2aClient(met.url, Generation.V10, ids=new_id, http=owner._http) as client:
            await seen(client)
        assert not owner._http.is_closed
        await seen(owner)
