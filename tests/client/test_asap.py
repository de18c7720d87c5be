"""The ASAP client with a server that is a process of its own, over both bindings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from palaver.client.asap import AsapClient, AsapSettings, Transport
from palaver.client.asap_errors import AsapRefused
from palaver.client.transport import Patience
from palaver.observability.logging import configure_logging
from palaver.protocols.asap.messages import Envelope, StateSnapshot, TaskConfig, TaskStatus
from palaver.testing.fault_proxy import Fault, FaultProxy
from tests.client.asp_server import until
from tests.conftest import Serve, Server

AGENTS = Path(__file__).parents[1] / "server" / "agents.py"
SETTINGS = AsapSettings(
    patience=Patience(first_delay=0.05, max_delay=0.2, silence_timeout=20.0, give_up_after=20.0),
    attempts=1000,
)
TRANSPORTS: list[Transport] = ["http", "websocket"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Leave out what the client logs of each drop."""
    before = structlog.get_config()
    configure_logging("critical")
    yield
    structlog.configure(**before)


@pytest.fixture(scope="module")
def desk(serve: Serve) -> Server:
    """Serve the agent of the tests of the server."""
    return serve(f"{AGENTS}:agent", "--set=drain_timeout=0.2")


def client_of(url: str, transport: Transport) -> AsapClient:
    """Make a client."""
    return AsapClient(url, transport=transport, settings=SETTINGS)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_all_that_can_be_asked(desk: Server, transport: Transport) -> None:
    """A task that asks is begun, looked at, answered; another one is cancelled."""
    async with asyncio.timeout(20), client_of(desk.url, transport) as client:
        assert (await client.manifest()).id == "urn:asap:agent:desk"
        assert (await client.health()).healthy
        asked = await client.request_task("ask", {"text": ""}, conversation_id="c")
        assert asked.status is TaskStatus.INPUT_REQUIRED
        snapshot = StateSnapshot.model_validate((await client.state(asked.task_id)).final_state)
        assert (snapshot.task_id, snapshot.data["status"]) == (asked.task_id, "input_required")
        answered = await client.answer(asked.task_id, "Monday")
        assert (answered.task_id, answered.status) == (asked.task_id, TaskStatus.COMPLETED)
        assert answered.result == {"text": "You said Monday."}
        other = await client.request_task("ask", {"text": ""})
        assert (await client.cancel(other.task_id)).status is TaskStatus.CANCELLED
        with pytest.raises(AsapRefused, match="there is no task 'nowhere'") as caught:
            await client.state("nowhere")
        assert caught.value.uri == "asap:task/not_found"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_one_key_runs_once(desk: Server, transport: Transport) -> None:
    """A request under a key that came before is answered with the task of the first."""
    async with asyncio.timeout(20), client_of(desk.url, transport) as client:
        key = f"key-{transport}"
        asking = (
            client.request_task("say", {"text": "x"}, conversation_id="c", idempotency_key=key)
            for _ in range(5)
        )
        answers = await asyncio.gather(*asking)
    assert len({answer.task_id for answer in answers}) == 1


async def test_the_news_of_a_task(desk: Server) -> None:
    """On a WebSocket a task that is to be followed tells of itself before it is answered."""
    heard: list[Envelope] = []
    async with (
        asyncio.timeout(20),
        AsapClient(desk.url, transport="websocket", on_message=heard.append) as client,
    ):
        await client.request_task("open", {"text": "news"})
        config = TaskConfig(streaming=True)
        answer = await client.request_task("hold", {"text": "news"}, config=config)
    assert answer.result is not None
    assert answer.result["text"] == "held on"
    kinds = [one.payload_type for one in heard]
    assert kinds == ["TaskUpdate", "ArtifactNotify", "TaskUpdate", "TaskUpdate"]
    assert {one.payload["task_id"] for one in heard} == {answer.task_id}


async def test_a_cancel_overtakes(desk: Server) -> None:
    """A task that holds its request is cancelled over the same socket, and answered so."""
    heard: list[Envelope] = []
    async with (
        asyncio.timeout(20),
        AsapClient(desk.url, transport="websocket", on_message=heard.append) as client,
    ):
        config = TaskConfig(streaming=True)
        held = client.request_task("hold", {"text": "never"}, config=config)
        waiting = asyncio.create_task(held)
        await until(lambda: len(heard) > 0)
        cancelled = await client.cancel(str(heard[0].payload["task_id"]))
        assert cancelled.status is TaskStatus.CANCELLED
        assert (await waiting).status is TaskStatus.CANCELLED


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_connections_that_are_reset(desk: Server, transport: Transport) -> None:
    """However often the connection breaks, each request has one task, and its answer."""

    def fault(number: int) -> Fault:
        return Fault() if number % 3 == 2 else Fault(reset_after=350 + 101 * (number % 3))

    scheme = "http" if transport == "http" else "ws"
    async with (
        asyncio.timeout(30),
        FaultProxy(desk.port, fault) as proxy,
        AsapClient(
            f"{scheme}://127.0.0.1:{proxy.port}",
            recipient="urn:asap:agent:desk",
            settings=SETTINGS,
        ) as client,
    ):
        asking = (client.request_task("say", {"text": f"n{n}"}) for n in range(30))
        answers = await asyncio.gather(*asking)
        assert proxy.resets > 0
    assert [(answer.result or {})["text"] for answer in answers] == [f"n{n}" for n in range(30)]
    assert len({answer.task_id for answer in answers}) == 30


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("ending", ["stopped", "killed"])
async def test_a_server_that_starts_again(
    serve: Serve, tmp_path: Path, transport: Transport, ending: str
) -> None:
    """What is asked while the server is away is done, once, by the one that comes after it."""
    store = f"sqlite:{tmp_path / 'tasks.db'}"
    target = (f"{AGENTS}:agent", "--store", store, "--set=drain_timeout=0.2")
    first = serve(*target)
    async with asyncio.timeout(40), client_of(first.url, transport) as client:
        before = await client.request_task("say", {"text": "before"}, idempotency_key="k")
        await asyncio.to_thread(first.stop if ending == "stopped" else first.kill)
        later = [
            asyncio.create_task(client.request_task("say", {"text": f"n{n}"})) for n in range(5)
        ]
        second = await asyncio.to_thread(serve, *target, "--port", str(first.port))
        assert second.port == first.port
        answers = await asyncio.gather(*later)
        assert [(answer.result or {})["text"] for answer in answers] == [f"n{n}" for n in range(5)]
        again = await client.request_task("say", {"text": "before"}, idempotency_key="k")
        assert again.task_id == before.task_id
