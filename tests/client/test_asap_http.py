"""The ASAP client over HTTP, against peers that answer, refuse, and break."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from palaver.client.asap import AsapClient, AsapSettings
from palaver.client.asap_errors import AsapInvalid, AsapRefused, AsapUnreachable
from palaver.client.asap_http import retry_after, retry_delay
from palaver.client.circuit import Circuits
from palaver.client.transport import Patience
from palaver.errors import PeerError
from palaver.observability.logging import configure_logging
from palaver.protocols.asap.messages import ArtifactNotify, TaskConfig, TaskStatus
from palaver.protocols.asap.spelling import Spelling
from tests.client.asap_server import AGENT, HASTY, reply_frame
from tests.client.asp_server import until
from tests.client.peers import Peer, Step, Visit, drop, peer


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Leave out what the client logs of each try."""
    before = structlog.get_config()
    configure_logging("critical")
    yield
    structlog.configure(**before)


@asynccontextmanager
async def client_of(url: str, **settings: Any) -> AsyncIterator[AsapClient]:
    """Make a client that waits for little."""
    more = {name: settings.pop(name) for name in ("recipient", "headers") if name in settings}
    chosen = AsapSettings(**{"patience": HASTY, **settings})
    async with asyncio.timeout(20):
        async with AsapClient(url, **{"recipient": AGENT, **more}, settings=chosen) as client:
            yield client


async def well(visit: Visit) -> None:
    """Answer with what was asked."""
    asked = visit.request["params"]["envelope"]["payload"].get("input")
    await visit.answer(reply_frame(json.dumps(visit.request), result=asked).encode())


def refuse(code: int, message: str, status: str = "200 OK", **more: Any) -> Step:
    """Return the step that answers with an error."""
    headers = more.pop("headers", {})

    async def answer(visit: Visit) -> None:
        error = {"code": code, "message": message, **more}
        said = {"jsonrpc": "2.0", "id": visit.request["id"], "error": error}
        await visit.answer(json.dumps(said).encode(), status, **headers)

    return answer


def plain(status: str, body: bytes = b'{"detail":"no"}', **headers: str) -> Step:
    """Return the step that answers without ASAP."""

    async def answer(visit: Visit) -> None:
        await visit.answer(body, status, **headers)

    return answer


async def silence(visit: Visit) -> None:
    """Say nothing for ever."""
    await visit.silence()


def envelopes(met: Peer) -> list[dict[str, Any]]:
    """Return the envelopes that came."""
    return [visit.request["params"]["envelope"] for visit in met.visits]


# --- one request ---


async def test_an_answer() -> None:
    """A request says what it must, and its answer is what the peer made of it."""
    async with peer(well) as met, client_of(met.url) as client:
        answer = await client.request_task(
            "say",
            {"text": "hi"},
            conversation_id="c",
            parent_task_id="p",
            config=TaskConfig(priority="high"),
            trace_id="trace",
            extensions={"nonce": "n"},
        )
    assert (answer.status, answer.result) == (TaskStatus.COMPLETED, {"text": "hi"})
    (visit,) = met.visits
    assert visit.headers["content-type"] == "application/json"
    assert visit.headers["x-idempotency-key"] == visit.request["params"]["idempotency_key"]
    (envelope,) = envelopes(met)
    assert {"id", "timestamp"} <= envelope.keys()
    assert envelope | {"id": 1, "timestamp": 1} == {
        "id": 1,
        "timestamp": 1,
        "asap_version": "0.1",
        "sender": "urn:asap:agent:palaver-client",
        "recipient": AGENT,
        "payload_type": "TaskRequest",
        "payload": {
            "conversation_id": "c",
            "skill_id": "say",
            "input": {"text": "hi"},
            "parent_task_id": "p",
            "config": {"priority": "high"},
        },
        "trace_id": "trace",
        "extensions": {"nonce": "n"},
    }


async def test_each_kind_of_request() -> None:
    """Cancelling, answering and asking for state have payloads of their own."""
    async with peer(well) as met, client_of(met.url) as client:
        await client.cancel("t", "enough")
        await client.answer("t", "Monday")
        await client.state("t", 3)
    sent = [(one["payload_type"], one["payload"]) for one in envelopes(met)]
    said = sent[1][1]
    assert said.pop("message_id").startswith("msg_")
    assert sent == [
        ("TaskCancel", {"task_id": "t", "reason": "enough"}),
        (
            "MessageSend",
            {
                "task_id": "t",
                "sender": "urn:asap:agent:palaver-client",
                "role": "user",
                "parts": [{"type": "text", "content": "Monday"}],
            },
        ),
        ("StateQuery", {"task_id": "t", "version": 3}),
    ]


async def test_who_is_asked() -> None:
    """Where nobody is named, the manifest says who it is; it is asked for once."""
    said = {"id": "urn:asap:agent:found", "name": "x", "version": "1"}
    said_at = json.dumps(said | {"endpoints": {"asap": "http://localhost/asap"}}).encode()
    async with (
        peer(plain("200 OK", said_at), well) as met,
        client_of(met.url, recipient=None) as client,
    ):
        await client.request_task("say", {})
        await client.request_task("say", {})
        await client.send(ArtifactNotify(artifact_id="a", task_id="t"), recipient=AGENT)
    recipients = [v.request["params"]["envelope"]["recipient"] for v in met.visits[1:]]
    assert recipients == ["urn:asap:agent:found", "urn:asap:agent:found", AGENT]


@pytest.mark.parametrize("dynamic", [False, True])
async def test_headers(dynamic: bool) -> None:  # noqa: FBT001 -- a column of two
    """What a client was given goes with each request, as it is at that time."""
    count = 0

    async def fresh() -> Mapping[str, str]:
        nonlocal count
        count += 1
        return {"Authorization": f"Bearer {count}"}

    fixed = {"Authorization": "Bearer 1"}
    async with (
        peer(plain("503 Service Unavailable"), well) as met,
        client_of(met.url, headers=fresh if dynamic else fixed) as client,
    ):
        await client.request_task("say", {})
    seen = [visit.headers["authorization"] for visit in met.visits]
    assert seen == ["Bearer 1", "Bearer 2" if dynamic else "Bearer 1"]


# --- tries ---


@pytest.mark.parametrize(
    "broken",
    [
        drop,
        plain("500 Internal Server Error"),
        plain("502 Bad Gateway", b"<html>"),
        refuse(-32031, "Server is busy", "503 Service Unavailable"),
        refuse(429, "Rate limit exceeded", "429 Too Many Requests", headers={"Retry_After": "9"}),
        plain("429 Too Many Requests", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    ],
)
async def test_what_may_work_later_is_tried_again(broken: Step) -> None:
    """Three tries carry the same envelope and one key, in the header and in the params."""
    async with peer(broken, broken, well) as met, client_of(met.url) as client:
        assert (await client.request_task("say", {"n": 1})).result == {"n": 1}
    assert len(met.visits) == 3
    assert len({one["id"] for one in envelopes(met)}) == 1
    keys = {visit.headers["x-idempotency-key"] for visit in met.visits}
    keys |= {visit.request["params"]["idempotency_key"] for visit in met.visits}
    assert len(keys) == 1


async def test_a_key_of_ones_own() -> None:
    """A key that is given is used; one that no header can carry is in the params alone."""
    async with peer(well) as met, client_of(met.url) as client:
        await client.request_task("say", {}, idempotency_key="mine")
        await client.request_task("say", {}, idempotency_key="ключ")
        await client.request_task("say", {})
        await client.request_task("say", {})
    headers = [visit.headers.get("x-idempotency-key") for visit in met.visits]
    params = [visit.request["params"]["idempotency_key"] for visit in met.visits]
    assert params[:2] == ["mine", "ключ"]
    assert headers[:2] == ["mine", None]
    assert len(set(params)) == 4


@pytest.mark.parametrize(
    ("broken", "error", "text"),
    [
        (drop, AsapUnreachable, "does not answer"),
        (silence, AsapUnreachable, r"did not answer within 0\.05 s"),
        (refuse(-32031, "busy", "503 Service Unavailable"), AsapRefused, "busy"),
        (plain("503 Service Unavailable"), AsapRefused, 'answered HTTP 503: {"detail":"no"}'),
    ],
)
async def test_enough_tries(broken: Step, error: type[PeerError], text: str) -> None:
    """After three tries the last one says what was wrong."""
    async with peer(broken) as met, client_of(met.url) as client:
        with pytest.raises(error, match=text):
            await client.request_task("say", {}, timeout=0.05 if broken is silence else 5.0)
    assert len(met.visits) == 3


async def test_patience_bounds_the_tries() -> None:
    """No try begins when patience is over, however many there may be."""
    patience = Patience(first_delay=5.0, max_delay=10.0, give_up_after=4.0)
    async with peer(drop) as met, client_of(met.url, patience=patience, attempts=99) as client:
        with pytest.raises(AsapUnreachable):
            await client.request_task("say", {})
    assert len(met.visits) == 1


@pytest.mark.parametrize(
    ("step", "code", "uri"),
    [
        (
            refuse(-32010, "Task not found", data={"code": "asap:task/not_found"}),
            -32010,
            "asap:task/not_found",
        ),
        (refuse(-32603, "Internal error", data="odd"), -32603, ""),
        (plain("413 Payload Too Large"), 413, ""),
        (plain("401 Unauthorized", b""), 401, ""),
        (plain("307 Temporary Redirect", Location="http://localhost:1/"), 307, ""),
        (refuse(-32600, "no", "400 Bad Request"), -32600, ""),
    ],
)
async def test_what_is_refused_is_not_tried_again(step: Step, code: int, uri: str) -> None:
    """An error of the peer has its number and its code."""
    async with peer(step) as met, client_of(met.url) as client:
        with pytest.raises(AsapRefused) as caught:
            await client.request_task("say", {})
    assert (caught.value.code, caught.value.uri) == (code, uri)
    assert len(met.visits) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"jsonrpc":"2.0","id":"other","result":{"envelope":{}}}',
        b'{"type":"ping"}',
        b"\xff",
    ],
)
async def test_an_answer_that_is_none(body: bytes) -> None:
    """What is no ASAP is said to be none, once."""
    async with peer(plain("200 OK", body)) as met, client_of(met.url) as client:
        with pytest.raises(AsapInvalid):
            await client.request_task("say", {})
    assert len(met.visits) == 1


async def test_an_answer_to_somebody_else() -> None:
    """An answer under another id is not taken for ours."""

    async def other(visit: Visit) -> None:
        frame = json.loads(reply_frame(json.dumps(visit.request)))
        await visit.answer(json.dumps(frame | {"id": "x"}).encode())

    async with peer(other) as met, client_of(met.url) as client:
        with pytest.raises(AsapInvalid, match="something else than what it was asked"):
            await client.request_task("say", {})


async def test_an_answer_of_another_type() -> None:
    """A task is answered with a TaskResponse; anything else can be had from ``send``."""

    async def acknowledged(visit: Visit) -> None:
        frame = json.loads(reply_frame(json.dumps(visit.request)))
        payload = {"original_envelope_id": "e", "status": "received"}
        frame["result"]["envelope"] |= {"payload_type": "MessageAck", "payload": payload}
        await visit.answer(json.dumps(frame).encode())

    async with peer(acknowledged) as met, client_of(met.url) as client:
        with pytest.raises(AsapInvalid, match="answered with a MessageAck, no TaskResponse"):
            await client.request_task("say", {})
        envelope = await client.send(ArtifactNotify(artifact_id="a", task_id="t"))
        assert envelope.payload["status"] == "received"


async def test_a_cancelled_send() -> None:
    """Whoever stops waiting stops the request."""
    left = asyncio.Event()

    async def hold(visit: Visit) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            left.set()

    async with peer(hold) as met, client_of(met.url) as client:
        waiting = asyncio.create_task(client.request_task("say", {}))
        await until(lambda: bool(met.visits))
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        await left.wait()


async def test_closing_with_requests_under_way() -> None:
    """A request without an answer ends when the client is closed; none begins afterwards."""
    async with peer(silence) as met, client_of(met.url) as client:
        waiting = asyncio.create_task(client.request_task("say", {}))
        await until(lambda: bool(met.visits))
        await client.close()
        for asking in (waiting, client.request_task("say", {})):
            with pytest.raises(AsapUnreachable, match="the client is closed"):
                await asking


async def test_nobody_there() -> None:
    """An address at which nobody is, is unreachable after three tries."""
    async with client_of("http://127.0.0.1:1") as client:
        with pytest.raises(AsapUnreachable, match=r"http://127\.0\.0\.1:1/asap does not answer"):
            await client.request_task("say", {})


# --- spellings ---


async def test_a_peer_that_knows_dotted_types() -> None:
    """A peer that has nobody for ``TaskRequest`` is asked for ``task.request``, from then on."""
    unknown = refuse(-32601, "Method not found", data={"payload_type": "TaskRequest"})
    async with peer(unknown, well) as met, client_of(met.url) as client:
        await client.request_task("say", {})
        await client.state("t")
    kinds = [one["payload_type"] for one in envelopes(met)]
    assert kinds == ["TaskRequest", "task.request", "state.query"]
    assert len({one["id"] for one in envelopes(met)}) == 3


@pytest.mark.parametrize("settings", [{}, {"spelling": Spelling.CAMEL}])
async def test_a_peer_that_knows_no_such_type(settings: dict[str, Any]) -> None:
    """Where no spelling helps, or one was chosen, the refusal is what it is."""
    unknown = refuse(-32601, "Method not found", data={"payload_type": "x"})
    async with peer(unknown) as met, client_of(met.url, **settings) as client:
        with pytest.raises(AsapRefused, match="Method not found"):
            await client.request_task("say", {})
    assert len(met.visits) == (1 if settings else 2)


# --- compression ---


@pytest.mark.parametrize(("size", "encoding"), [(10, None), (5_000, "gzip"), (400_000, "gzip")])
async def test_large_bodies_are_compressed(size: int, encoding: str | None) -> None:
    """A body from a thousand bytes on goes compressed, and arrives as it was."""
    async with peer(well) as met, client_of(met.url) as client:
        assert (await client.request_task("say", {"x": "y" * size})).result == {"x": "y" * size}
    assert met.visits[0].headers.get("content-encoding") == encoding


async def test_a_peer_that_takes_no_compression() -> None:
    """It is asked again without, at once, and never compressed for again."""
    async with (
        peer(plain("415 Unsupported Media Type"), well) as met,
        client_of(met.url) as client,
    ):
        for _ in range(2):
            await client.request_task("say", {"x": "y" * 5000})
    encodings = [visit.headers.get("content-encoding") for visit in met.visits]
    assert encodings == ["gzip", None, None]


# --- the circuit breaker ---


async def test_a_peer_that_fails_is_left_alone() -> None:
    """After so many failures no request goes out, from any client that shares the circuits."""
    circuits = Circuits(max_failures=2, open_for=60.0)
    settings = {"circuits": circuits, "attempts": 1}
    async with peer(drop) as met:
        for _ in range(2):
            async with client_of(met.url, **settings) as client:
                with pytest.raises(AsapUnreachable, match="does not answer"):
                    await client.request_task("say", {})
        async with client_of(met.url, **settings) as client:
            with pytest.raises(AsapUnreachable, match="is left alone for 60 s") as caught:
                await client.request_task("say", {})
        assert caught.value.uri == "asap:transport/circuit_open"
        async with client_of(met.url, attempts=1) as client:
            with pytest.raises(AsapUnreachable, match="does not answer"):
                await client.request_task("say", {})
    assert len(met.visits) == 3


@pytest.mark.parametrize(
    ("step", "passes"),
    [
        (refuse(-32010, "Task not found"), True),
        (plain("404 Not Found"), True),
        (plain("200 OK", b"{"), True),
        (plain("503 Service Unavailable"), False),
        (refuse(-32031, "busy"), False),
    ],
)
async def test_what_a_failure_is(step: Step, passes: bool) -> None:  # noqa: FBT001
    """A peer that refuses is there; one that is too busy, or broken, is not."""
    circuits = Circuits(max_failures=1)
    async with peer(step) as met, client_of(met.url, circuits=circuits, attempts=1) as client:
        with pytest.raises(PeerError):
            await client.request_task("say", {})
        assert (circuits.of(met.url).state(0.0) == "closed") == passes


async def test_a_probe_that_is_cancelled() -> None:
    """A request that its caller gives up makes room for the next probe."""
    circuits = Circuits(max_failures=1, open_for=0.0)
    async with (
        peer(drop, silence, well) as met,
        client_of(met.url, circuits=circuits, attempts=1) as client,
    ):
        with pytest.raises(AsapUnreachable):
            await client.request_task("say", {})
        probe = asyncio.create_task(client.request_task("say", {}))
        await until(lambda: len(met.visits) == 2)
        with pytest.raises(AsapUnreachable, match="is left alone"):
            await client.request_task("say", {})
        probe.cancel()
        await asyncio.wait({probe})
        assert (await client.request_task("say", {})).status is TaskStatus.COMPLETED


# --- delays ---


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:01:40 -0000", 40.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("", None),
        ("-7", None),
        ("soon", None),
        ("9" * 400, 999_999_999.0),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """A server says in seconds, or by a date, when to come back."""
    assert retry_after(value, now=60.0) == seconds


def test_delays_between_tries() -> None:
    """They double up to a bound, which also holds for what the server asks; a tenth is chance."""
    patience = Patience(first_delay=1.0, max_delay=30.0)
    delays = [retry_delay(n, patience, None, lambda: 0.0) for n in (1, 2, 3, 6, 999)]
    assert delays == [1.0, 2.0, 4.0, 30.0, 30.0]
    assert retry_delay(2, patience, None, lambda: 1.0) == pytest.approx(2.2)
    hinted = [retry_delay(1, patience, hint, lambda: 0.0) for hint in (0.0, 7.0, 1e9)]
    assert hinted == [1.0, 7.0, 30.0]
