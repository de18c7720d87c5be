"""Finding an ASAP agent: addresses, manifests that are kept, and health."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from palaver.client.asap_discovery import (
    AsapAddress,
    ManifestCache,
    asap_address,
    fetch_health,
    fetch_manifest,
    max_age,
    socket_url,
)
from palaver.client.asap_errors import AsapInvalid, AsapRefused, AsapUnreachable
from palaver.client.transport import Patience, http_client
from palaver.protocols.asap.manifest import parse_manifest
from tests.client.asp_server import until
from tests.client.peers import Step, Visit, drop, peer

SAID: dict[str, Any] = {
    "id": "urn:asap:agent:a",
    "name": "a",
    "version": "1.0.0",
    "description": "An agent",
    "capabilities": {"skills": [{"id": "echo", "description": "Echoes"}]},
    "endpoints": {"asap": "https://a.test/asap", "events": "wss://events.test/socket"},
}


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """Ask with this."""
    async with asyncio.timeout(20), http_client(Patience(silence_timeout=5.0)) as http:
        yield http


def manifest(version: str = "1.0.0", status: str = "200 OK", **headers: str) -> Step:
    """Return the step that answers with a manifest."""

    async def answer(visit: Visit) -> None:
        body = json.dumps(SAID | {"version": version, "later_member": {"of": "2.5"}}).encode()
        await visit.answer(b"" if status.startswith("304") else body, status, **headers)

    return answer


def raw(body: bytes, status: str = "200 OK") -> Step:
    """Return the step that answers with a body."""

    async def answer(visit: Visit) -> None:
        await visit.answer(body, status)

    return answer


# --- addresses ---


@pytest.mark.parametrize(
    ("given", "base", "meant"),
    [
        ("https://a.test", "https://a.test", "http"),
        ("https://a.test/", "https://a.test", "http"),
        ("https://a.test/asap", "https://a.test", "http"),
        ("wss://a.test/asap/ws", "https://a.test", "websocket"),
        ("wss://a.test:444", "https://a.test:444", "websocket"),
        ("https://a.test/agents/x/asap/", "https://a.test/agents/x", "http"),
        ("https://a.test/.well-known/asap/manifest.json?a=b#c", "https://a.test", "http"),
        ("localhost:8080", "http://localhost:8080", "http"),
        ("ws://127.9.9.9:1/asap/ws", "http://127.9.9.9:1", "websocket"),
        ("http://[::1]:81/x", "http://[::1]:81/x", "http"),
    ],
)
def test_addresses(given: str, base: str, meant: Any) -> None:
    """An address may be that of an endpoint, and says by its scheme what it is for."""
    assert asap_address(given) == AsapAddress(base, meant)


def test_the_endpoints_of_an_address() -> None:
    """Requests go to ``/asap``, WebSockets to ``/asap/ws`` with the scheme that fits."""
    address = asap_address("https://a.test/agents/x")
    assert address.post_url == "https://a.test/agents/x/asap"
    assert address.socket_url == "wss://a.test/agents/x/asap/ws"
    assert asap_address("http://localhost").socket_url == "ws://localhost/asap/ws"


@pytest.mark.parametrize("given", ["", "http://", "ftp://a", "http://[::1", "http://a:x", "a:0"])
def test_addresses_that_are_none(given: str) -> None:
    """What cannot be an address is refused with an example of one."""
    with pytest.raises(AsapUnreachable, match="is no address of an agent: write http://HOST:PORT"):
        asap_address(given)


@pytest.mark.parametrize(
    ("given", "better"),
    [("http://a.test", "https"), ("ws://10.0.0.1", "https"), ("a.test:8080", "https")],
)
def test_what_is_not_encrypted(given: str, better: str) -> None:
    """What leaves the machine is encrypted, unless it may be insecure."""
    with pytest.raises(AsapUnreachable, match=f"is not encrypted: use {better}"):
        asap_address(given)
    assert asap_address(given, insecure=True).base_url.startswith("http://")


@pytest.mark.parametrize(
    ("events", "url"),
    [(None, "wss://a.test/asap/ws"), ("wss://b.test/x", "wss://b.test/x")],
)
def test_where_events_are(events: str | None, url: str) -> None:
    """A manifest may say where the WebSocket is."""
    endpoints = {"asap": "https://a.test/asap", "events": events}
    said = parse_manifest(SAID | {"endpoints": endpoints})
    assert socket_url(asap_address("https://a.test"), said) == url


@pytest.mark.parametrize("events", ["https://a.test", "wss://", "x", "ws://[::1", "ws://a:0"])
def test_events_that_are_nowhere(events: str) -> None:
    """A manifest that names no WebSocket there cannot be used for one."""
    said = parse_manifest(SAID | {"endpoints": {"asap": "https://a.test/asap", "events": events}})
    with pytest.raises(AsapInvalid, match="for WebSockets"):
        socket_url(asap_address("https://a.test"), said)


def test_events_that_are_not_encrypted() -> None:
    """A manifest cannot lead a client out of what is encrypted."""
    said = parse_manifest(
        SAID | {"endpoints": {"asap": "https://a.test/asap", "events": "ws://a.test/x"}}
    )
    with pytest.raises(AsapUnreachable, match="is not encrypted: use wss"):
        socket_url(asap_address("https://a.test"), said)
    address = asap_address("https://a.test")
    assert socket_url(address, said, insecure=True) == "ws://a.test/x"


# --- manifests ---


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 300.0),
        ("public, max-age=60", 60.0),
        ("MAX-AGE = 60", 60.0),
        ('max-age="7"', 7.0),
        ("max-age=0", 0.0),
        ("max-age=99999999999999999999", 86_400.0),
        ("max-age=-1", 300.0),
        ("max-age=x", 300.0),
        ("no-store", 0.0),
        ("no-cache, max-age=60", 0.0),
    ],
)
def test_how_long_a_manifest_is_kept(header: str, seconds: float) -> None:
    """It is what the answer says, a day at most; five minutes where it says nothing."""
    assert max_age(header) == seconds


async def test_a_manifest_of_later_releases(http: httpx2.AsyncClient) -> None:
    """Members that are not known are no reason to refuse a manifest."""
    async with peer(manifest()) as met:
        found = await fetch_manifest(http, met.url)
    assert (found.id, found.version) == ("urn:asap:agent:a", "1.0.0")
    assert [skill.id for skill in found.capabilities.skills] == ["echo"]
    assert met.methods == ["/.well-known/asap/manifest.json"]


async def test_a_manifest_is_kept_for_its_time(http: httpx2.AsyncClient) -> None:
    """Within its time it is not asked for again; then it is, and may be the same still."""
    now = 1000.0
    cache = ManifestCache(clock=lambda: now)
    steps = (
        manifest(Cache_Control="max-age=10", ETag='"one"'),
        manifest(status="304 Not Modified", Cache_Control="max-age=10", ETag='"one"'),
        manifest("2.0.0", Cache_Control="max-age=10"),
    )
    async with peer(*steps) as met:
        seen = []
        for later in (0.0, 9.9, 0.2, 9.0, 1.1):
            now += later
            seen.append((await cache.get(http, met.url)).version)
    assert seen == ["1.0.0"] * 4 + ["2.0.0"]
    assert [visit.headers.get("if-none-match") for visit in met.visits] == [None, '"one"', '"one"']


async def test_a_manifest_that_must_not_be_kept(http: httpx2.AsyncClient) -> None:
    """``no-store`` is asked for each time."""
    cache = ManifestCache()
    async with peer(manifest(Cache_Control="no-store"), manifest("2.0.0")) as met:
        assert (await cache.get(http, met.url)).version == "1.0.0"
        assert len(cache) == 0
        assert (await cache.get(http, met.url)).version == "2.0.0"
        cache.forget(met.url)
        assert len(cache) == 0


async def test_one_flight_for_many(http: httpx2.AsyncClient) -> None:
    """Those who want a manifest at the same time share one request, whoever leaves early."""
    gate = asyncio.Event()

    async def held(visit: Visit) -> None:
        await gate.wait()
        await manifest()(visit)

    cache = ManifestCache()
    async with peer(held) as met:
        asking = [asyncio.create_task(cache.get(http, met.url)) for _ in range(10)]
        await until(lambda: bool(met.visits))
        asking[0].cancel()
        gate.set()
        found = await asyncio.gather(*asking[1:])
    assert len(met.visits) == 1
    assert {one.version for one in found} == {"1.0.0"}


async def test_a_flight_that_nobody_waits_for(http: httpx2.AsyncClient) -> None:
    """When all have left, the request is given up; the next one asks anew."""

    async def held(visit: Visit) -> None:
        await visit.silence()

    cache = ManifestCache()
    async with peer(held, manifest()) as met:
        asking = [asyncio.create_task(cache.get(http, met.url)) for _ in range(2)]
        await until(lambda: bool(met.visits))
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        assert (await cache.get(http, met.url)).version == "1.0.0"
    assert len(met.visits) == 2


async def test_a_failure_is_not_kept(http: httpx2.AsyncClient) -> None:
    """All who wait are told of a failure, and the next one asks again."""
    cache = ManifestCache()
    async with peer(raw(b"{}", "503 Service Unavailable"), manifest()) as met:
        failed = await asyncio.gather(
            *(cache.get(http, met.url) for _ in range(2)), return_exceptions=True
        )
        assert [type(one) for one in failed] == [AsapRefused, AsapRefused]
        assert (await cache.get(http, met.url)).version == "1.0.0"


async def test_manifests_of_many(http: httpx2.AsyncClient) -> None:
    """No more than so many are kept; the one asked for least lately is forgotten."""
    cache = ManifestCache(2)
    async with peer(manifest()) as met:
        bases = [f"{met.url}/{name}" for name in "abc"]
        for base in (bases[0], bases[1], bases[0], bases[2], bases[0]):
            await cache.get(http, base)
        assert len(cache) == 2
        assert len(met.visits) == 3
        await cache.get(http, bases[1])
        assert len(met.visits) == 4


@pytest.mark.parametrize(
    ("step", "error", "text"),
    [
        (raw(b"no", "404 Not Found"), AsapRefused, "there is no manifest: .* answered 404"),
        (raw(b"{"), AsapInvalid, "the manifest is not JSON"),
        (raw(b"{}"), AsapInvalid, "id is required"),
        (raw(b"[]"), AsapInvalid, "manifest"),
        (raw(b" " * (1024 * 1024 + 1)), AsapInvalid, "more than 1048576 bytes"),
        (drop, AsapUnreachable, "nobody answers at"),
    ],
)
async def test_a_manifest_that_is_none(
    http: httpx2.AsyncClient, step: Step, error: type[Exception], text: str
) -> None:
    """Each way in which there is no manifest says so."""
    async with peer(step) as met:
        with pytest.raises(error, match=text):
            await fetch_manifest(http, met.url)


# --- health ---


@pytest.mark.parametrize("status", ["200 OK", "503 Service Unavailable"])
async def test_health(http: httpx2.AsyncClient, status: str) -> None:
    """An agent that feels bad says so as well as one that feels good."""
    well = status.startswith("200")
    said = {
        "status": "healthy" if well else "unhealthy",
        "agent_id": "urn:asap:agent:a",
        "version": 7,
        "uptime_seconds": 1.5,
        "load": None,
    }
    async with peer(raw(json.dumps(said).encode(), status)) as met:
        health = await fetch_health(http, f"{met.url}/asap")
    assert (health.healthy, health.status) == (well, said["status"])
    assert (health.agent_id, health.version, health.uptime_seconds) == (said["agent_id"], None, 1.5)
    assert met.methods == ["/.well-known/asap/health"]


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (raw(b"no", "404 Not Found"), AsapRefused),
        (raw(b"{"), AsapInvalid),
        (raw(b"[]"), AsapInvalid),
        (raw(b'{"status": 7}'), AsapInvalid),
        (drop, AsapUnreachable),
    ],
)
async def test_health_that_is_none(
    http: httpx2.AsyncClient, step: Step, error: type[Exception]
) -> None:
    """Each way in which an agent does not tell its health says so."""
    async with peer(step) as met:
        with pytest.raises(error):
            await fetch_health(http, met.url)
