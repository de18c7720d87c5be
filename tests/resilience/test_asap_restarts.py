"""ASAP through restarts: each request is answered, and done once, in effect.

What is promised for a skill that may run again (``restartable``): its task is one, however often
the request comes; where a worker was killed it runs again, under the same task id, so that what it
does once for a task id is done once. For a skill that may not: it begins once at most; where its
worker was killed, the answer is ``failed``, with the reason ``worker_lost``.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from palaver.client.asap import DEFAULT_SENDER, AsapClient, Transport
from palaver.engine.clock import new_id
from palaver.protocols.asap.messages import TaskRequest, TaskResponse, TaskStatus, read_payload
from tests.conftest import Serve
from tests.resilience.asap_sites import WORKER, Site
from tests.resilience.following import report

REQUESTS, STOPS, KILLS = 1_000, 20, 5
CALLERS: dict[Transport, int] = {"websocket": 12, "http": 4}
NOT_AGAIN = 10
"""One request in so many is for the skill that may not run again."""
UNKEYED = 2
"""One request in so many has no idempotency key: it is known by its envelope."""


@pytest.fixture
async def site(serve: Serve, tmp_path: Path) -> AsyncIterator[Site]:
    """Open a place with a server; none is left behind, and none of them met what nobody expects."""
    site = Site(serve, tmp_path)
    await site.open()
    yield site
    if site.server is not None and site.server.process.returncode is None:
        await site.close(kill=True)
    assert site.troubles() == []


class Work:
    """Requests in a row, and their answers."""

    def __init__(self, site: Site) -> None:
        self.answers: dict[int, TaskResponse] = {}
        self.waits: list[float] = []
        self._site = site
        self._numbers = iter(range(REQUESTS))
        self._grew = asyncio.Condition()

    async def ask(self, client: AsapClient) -> None:
        """Ask for one thing after the other, until there are no more."""
        for number in self._numbers:
            began = time.perf_counter()
            self.answers[number] = await self.request(client, number)
            self.waits.append(time.perf_counter() - began)
            async with self._grew:
                self._grew.notify_all()

    async def request(self, client: AsapClient, number: int) -> TaskResponse:
        """Ask for that; a request that has a key may be asked again."""
        pause = 300 if number % 40 in {7, 10, 30} else 2 + number % 30
        return await client.request_task(
            "work" if number % NOT_AGAIN else "once",
            {"text": self._site.text(number, pause)},
            conversation_id=f"conversation-{number}",
            idempotency_key=None if number % UNKEYED else f"request-{number}",
            timeout=120,
        )

    async def reached(self, count: int) -> None:
        """Return once so many have their answers."""
        async with self._grew:
            await self._grew.wait_for(lambda: len(self.answers) >= count)


@pytest.mark.timeout(240)  # a server takes a second to start, or three where others work as well
async def test_a_thousand_requests_through_twenty_five_restarts(site: Site) -> None:
    """20 SIGTERM and 5 SIGKILL under 1,000 requests: all answered, each done once in effect."""
    began = time.perf_counter()
    work = Work(site)
    async with site.client("websocket") as sockets, site.client("http") as http:
        clients = {"websocket": sockets, "http": http}
        asking = [
            asyncio.create_task(work.ask(clients[transport]))
            for transport, callers in CALLERS.items()
            for _ in range(callers)
        ]
        restarts = STOPS + KILLS
        for number in range(1, restarts + 1):
            await work.reached(number * REQUESTS // (restarts + 1))
            await site.replace(kill=number % (restarts // KILLS) == 0)
        await asyncio.gather(*asking)
        took = time.perf_counter() - began
        executions = len(site.executions())
        again = await _asked_again(work, clients)
    await site.close()
    _check(work, site)
    assert (site.stops - 1, site.kills) == (STOPS, KILLS)
    assert len(site.executions()) == executions  # what was asked again began nothing
    assert again
    assert await site.tasks() == (REQUESTS, 0)
    _report(work, site, took, len(again))


async def _asked_again(work: Work, clients: dict[str, AsapClient]) -> list[int]:
    """Ask again for all that has a key, over the other transport: the answers are the same."""
    keyed = range(0, REQUESTS, UNKEYED)
    both = [clients["http"], clients["websocket"]]
    for first in range(0, len(keyed), 50):
        numbers = keyed[first : first + 50]
        answers = await asyncio.gather(
            *(work.request(both[at % 2], number) for at, number in enumerate(numbers))
        )
        assert answers == [work.answers[number] for number in numbers]
    return list(keyed)


def _check(work: Work, site: Site) -> None:
    """See that each request has its answer, one task, and one effect."""
    assert sorted(work.answers) == list(range(REQUESTS))
    tasks: dict[int, set[str]] = {}
    for number, task_id in site.executions():
        tasks.setdefault(number, set()).add(task_id)
    begun = Counter(number for number, _ in site.executions())
    effects = site.effects()
    for number, answer in work.answers.items():
        assert tasks.get(number, {answer.task_id}) == {answer.task_id}
        assert effects[number] <= 1
        if answer.status == TaskStatus.COMPLETED:
            assert answer.result == {"text": f"{number} by {answer.task_id}"}
            assert effects[number] == 1
        else:
            assert number % NOT_AGAIN == 0
            assert answer.status == TaskStatus.FAILED
            assert (answer.result or {})["error"]["reason"] == "worker_lost"
        if number % NOT_AGAIN == 0:
            assert begun[number] <= 1


def _report(work: Work, site: Site, took: float, again: int) -> None:
    begun = Counter(number for number, _ in site.executions())
    effects = site.effects()
    lost = sum(answer.status == TaskStatus.FAILED for answer in work.answers.values())
    once = sum(not number % NOT_AGAIN for number in work.answers)
    report(
        f"{len(work.answers)} of {REQUESTS} requests answered through {STOPS} SIGTERM and {KILLS} "
        f"SIGKILL in {took:.1f} s; {sum(effects.values())} effects, none twice "
        f"(most for one request: {max(effects.values())}); {sum(begun.values())} executions, "
        f"{sum(count > 1 for count in begun.values())} tasks ran again after a kill; "
        f"of {once} that may not run again {lost} failed with worker_lost; "
        f"longest wait {max(work.waits):.1f} s; {again} asked again: the same answers, none begun"
    )


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_request_while_nobody_serves(site: Site, transport: Transport) -> None:
    """A client that had an answer before waits for the next server, though nothing was pending."""
    async with site.client(transport) as client:
        assert (await _sent(client, _request(site, 1)))["status"] == "completed"
        await site.close()
        asking = asyncio.create_task(_sent(client, _request(site, 2)))
        await site.open()
        assert (await asking)["status"] == "completed"
    await site.close()
    assert sorted(number for number, _ in site.executions()) == [1, 2]


# --- duplicates ------------------------------------------------------------------------------


class Fixed:
    """Ids that are new, but for the envelopes': these have all the same one."""

    def __init__(self) -> None:
        self.envelope_id = new_id("env")

    def __call__(self, prefix: str) -> str:
        """Return an id."""
        return self.envelope_id if prefix == "env" else new_id(prefix)


def _request(site: Site, number: int, pause_ms: int = 60, *, skill: str = "work") -> TaskRequest:
    return TaskRequest(
        conversation_id="a conversation",
        skill_id=skill,
        input={"text": site.text(number, pause_ms)},
    )


async def _post(site: Site, envelope_id: str, request: TaskRequest) -> dict[str, Any]:
    """Post an envelope without a key, by hand; return the payload of the answer."""
    envelope = {
        "id": envelope_id,
        "asap_version": "0.1",
        "sender": DEFAULT_SENDER,
        "recipient": WORKER,
        "payload_type": "TaskRequest",
        "payload": request.wire(),
    }
    call = {"jsonrpc": "2.0", "id": 1, "method": "asap.send", "params": {"envelope": envelope}}
    async with httpx2.AsyncClient(timeout=20, trust_env=False) as http:
        headers = {"Content-Type": "application/json"}
        answer = await http.post(f"{site.url}/asap", content=orjson.dumps(call), headers=headers)
    payload: dict[str, Any] = answer.json()["result"]["envelope"]["payload"]
    return payload


async def _sent(client: AsapClient, request: TaskRequest) -> dict[str, Any]:
    return read_payload(await client.send(request)).wire()


async def test_one_envelope_over_everything_and_after_restarts(site: Site) -> None:
    """The same envelope over two sockets and HTTP at once, after a SIGTERM, and after a SIGKILL."""
    ids, request = Fixed(), _request(site, 1)
    async with site.client(ids=ids) as one, site.client(ids=ids) as other:
        answers = [
            *await asyncio.gather(
                _sent(one, request),
                _sent(other, request),
                _post(site, ids.envelope_id, request),
                _post(site, ids.envelope_id, request),
            )
        ]
        for kill in (False, True):
            await site.replace(kill=kill)
            answers += await asyncio.gather(
                _sent(one, request), _sent(other, request), _post(site, ids.envelope_id, request)
            )
    await site.close()
    assert len(site.executions()) == 1
    assert answers == [answers[0]] * 10
    assert await site.tasks() == (1, 0)
    report(f"{len(answers)} copies of one envelope: 1 execution, {len(answers)} same answers")


async def test_a_hundred_copies_at_once(site: Site) -> None:
    """50 sockets and 50 posts with 10 envelopes between them: ten tasks, ten executions."""
    kinds = [Fixed() for _ in range(10)]
    requests = [_request(site, number) for number in range(10)]
    clients = [site.client(ids=kinds[number % 10]) for number in range(50)]
    await asyncio.gather(*(client.connect() for client in clients))
    try:
        answers = await asyncio.gather(
            *(_sent(client, requests[number % 10]) for number, client in enumerate(clients)),
            *(
                _post(site, kinds[number % 10].envelope_id, requests[number % 10])
                for number in range(50)
            ),
        )
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    await site.close()
    assert sorted(number for number, _ in site.executions()) == list(range(10))
    assert all(answer == answers[number % 10] for number, answer in enumerate(answers))
    assert await site.tasks() == (10, 0)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_request_whose_server_is_killed_under_it(site: Site, transport: Transport) -> None:
    """The effect is there, the answer is not: it runs again, and the effect is not doubled.

    A skill that may not run again does not: its caller hears ``worker_lost``.
    """
    async with site.client(transport) as client:
        asking = [
            asyncio.create_task(_sent(client, _request(site, 1, 2_000))),
            asyncio.create_task(_sent(client, _request(site, 2, 2_000, skill="once"))),
        ]
        while len(site.effects()) < 2:
            await client.health()  # as long as an answer takes
        await site.replace(kill=True)
        again, never = await asyncio.gather(*asking)
    await site.close()
    assert again["status"] == "completed"
    assert never["status"] == "failed"
    assert never["result"]["error"]["reason"] == "worker_lost"
    assert sorted(number for number, _ in site.executions()) == [1, 1, 2]
    assert site.effects() == {1: 1, 2: 1}
    assert await site.tasks() == (2, 0)
