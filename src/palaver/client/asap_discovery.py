"""Finding an ASAP agent: its addresses, its manifest, and how it feels."""

from __future__ import annotations

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

import httpx2
import orjson

from palaver.client.asap_errors import AsapInvalid, AsapRefused, AsapUnreachable
from palaver.client.asp_dial import shown
from palaver.engine.clock import Clock, wall_clock
from palaver.protocols.asap.errors import AsapError
from palaver.protocols.asap.manifest import Manifest, parse_manifest

__all__ = [
    "ACCEPTED",
    "AsapAddress",
    "Health",
    "ManifestCache",
    "asap_address",
    "check_encrypted",
    "fetch_health",
    "fetch_manifest",
    "max_age",
    "read_bounded",
    "socket_url",
]

_MANIFEST: Final = "/.well-known/asap/manifest.json"
_HEALTH: Final = "/.well-known/asap/health"
_ENDPOINTS: Final = ("/asap/ws", "/asap", _MANIFEST, _HEALTH)
_SOCKET_SCHEMES: Final = {"http": "ws", "https": "wss"}
_HTTP_SCHEMES: Final = {"ws": "http", "wss": "https"}
ACCEPTED: Final[Mapping[str, str]] = MappingProxyType({"Accept-Encoding": "gzip"})
"""Header of each request: what ``read_bounded`` inflates."""
_MAX_BYTES: Final = 1024 * 1024
_DEFAULT_AGE: Final = 300.0
_MAX_AGE: Final = 86_400.0


# --- addresses ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AsapAddress:
    """Where one agent is. ``meant`` is the binding that the URL which was given is for."""

    base_url: str
    meant: Literal["http", "websocket"]

    @property
    def post_url(self) -> str:
        """The URL that takes ``POST``."""
        return f"{self.base_url}/asap"

    @property
    def socket_url(self) -> str:
        """The URL that takes WebSockets."""
        scheme, *rest = urlsplit(f"{self.base_url}/asap/ws")
        return urlunsplit((_SOCKET_SCHEMES[scheme], *rest))


def asap_address(url: str, *, insecure: bool = False) -> AsapAddress:
    """Return the addresses of the agent at ``url``: its base, or one of its endpoints.

    Raises:
        AsapUnreachable: it is no URL of http, https, ws or wss; or what is said there could be
            read on the way, and ``insecure`` does not say that it may.

    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        scheme = _HTTP_SCHEMES.get(parts.scheme, parts.scheme)
        legal = scheme in _SOCKET_SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        legal = False
    if not legal:
        raise AsapUnreachable(f"{url!r} is no address of an agent: write http://HOST:PORT")
    path = parts.path.rstrip("/")
    for endpoint in _ENDPOINTS:
        if path.endswith(endpoint):
            path = path.removesuffix(endpoint)
            break
    base = urlunsplit((scheme, parts.netloc, path, "", ""))
    if not insecure:
        check_encrypted(base)
    return AsapAddress(base, "http" if parts.scheme == scheme else "websocket")


def check_encrypted(url: str) -> None:
    """See that what goes to ``url`` is encrypted, or stays on this machine.

    Raises:
        AsapUnreachable: anybody on the way could read it.

    """
    parts = urlsplit(url)
    if parts.scheme in {"https", "wss"} or _is_local(parts.hostname or ""):
        return
    better = {"http": "https", "ws": "wss"}.get(parts.scheme, "https")
    raise AsapUnreachable(
        f"{shown(url)} is not encrypted: use {better}, or say that it may be insecure"
    )


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def socket_url(address: AsapAddress, manifest: Manifest, *, insecure: bool = False) -> str:
    """Return where the agent takes WebSockets: as its manifest says, else at the usual path.

    Raises:
        AsapInvalid: what the manifest says is no URL of a WebSocket.
        AsapUnreachable: what is said there could be read on the way.

    """
    events = manifest.endpoints.events
    if events is None:
        return address.socket_url
    try:
        parts = urlsplit(events)
        legal = parts.scheme in _HTTP_SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        legal = False
    if not legal:
        raise AsapInvalid(f"the manifest of {manifest.id} names {events[:100]!r} for WebSockets")
    if not insecure:
        check_encrypted(events)
    return events


# --- manifests ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Kept:
    manifest: Manifest
    until: float
    etag: str | None


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Manifest]
    waiters: int = 0


class ManifestCache:
    """What agents said of themselves, for as long as they said, at most a day.

    Those who want the same one at the same time share one request. The agent that was asked for
    least lately is forgotten.
    """

    def __init__(self, max_manifests: int = 1000, *, clock: Clock = wall_clock) -> None:
        self._max_manifests = max_manifests
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._flights: dict[str, _Flight] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def get(
        self,
        http: httpx2.AsyncClient,
        base_url: str,
        headers: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Return the manifest of the agent at ``base_url``.

        Raises:
            AsapUnreachable: nobody answers there.
            AsapRefused: there is no manifest for us.
            AsapInvalid: it cannot be read.

        """
        kept = self._kept.get(base_url)
        if kept is not None:
            self._kept.move_to_end(base_url)
            if self._clock() < kept.until:
                return kept.manifest
        flight = self._flights.get(base_url)
        if flight is None:
            asking = self._ask(http, base_url, kept, headers or {})
            task = asyncio.create_task(asking, name="asap-manifest")
            flight = self._flights[base_url] = _Flight(task)
        flight.waiters += 1
        try:
            await asyncio.wait({flight.task})
        finally:
            flight.waiters -= 1
            if not flight.waiters:
                if self._flights.get(base_url) is flight:
                    del self._flights[base_url]
                if not flight.task.cancel() and not flight.task.cancelled():
                    flight.task.exception()  # seen, also where nobody waits any more
        return flight.task.result()

    def forget(self, base_url: str) -> None:
        """Ask anew the next time."""
        self._kept.pop(base_url, None)

    async def _ask(
        self,
        http: httpx2.AsyncClient,
        base_url: str,
        kept: _Kept | None,
        headers: Mapping[str, str],
    ) -> Manifest:
        known = {} if kept is None or kept.etag is None else {"If-None-Match": kept.etag}
        async with _get(http, base_url + _MANIFEST, {**headers, **known}) as response:
            if kept is not None and response.status_code == httpx2.codes.NOT_MODIFIED:
                manifest = kept.manifest
            elif response.status_code == httpx2.codes.OK:
                manifest = await _read_manifest(response)
            else:
                raise _no_such(response, "there is no manifest")
            age = max_age(response.headers.get("cache-control", ""))
            etag = response.headers.get("etag")
        self._kept.pop(base_url, None)
        if age > 0:
            self._kept[base_url] = _Kept(manifest, self._clock() + age, etag)
        while len(self._kept) > self._max_manifests:
            self._kept.popitem(last=False)
        return manifest


async def fetch_manifest(http: httpx2.AsyncClient, url: str) -> Manifest:
    """Return the manifest of the agent at ``url``, asked for now.

    What an agent says of itself is for everybody: it may come unencrypted.

    Raises:
        AsapUnreachable: nobody answers there.
        AsapRefused: there is no manifest.
        AsapInvalid: it cannot be read.

    """
    address = asap_address(url, insecure=True)
    return await ManifestCache(1).get(http, address.base_url)


async def _read_manifest(response: httpx2.Response) -> Manifest:
    body = await read_bounded(response, _MAX_BYTES)
    try:
        return parse_manifest(body)
    except AsapError as error:
        where = shown(str(response.url))
        raise AsapInvalid(f"{where}: {error.message}") from None


def max_age(cache_control: str) -> float:
    """Return the seconds for which an answer may be kept, of what its ``Cache-Control`` says."""
    for directive in cache_control.lower().split(","):
        name, _, value = directive.partition("=")
        name = name.strip()
        if name in {"no-store", "no-cache"}:
            return 0.0
        seconds = value.strip().strip('"')
        if name == "max-age" and seconds.isascii() and seconds.isdecimal():
            return min(_MAX_AGE, float(seconds[:9]))
    return _DEFAULT_AGE


# --- health ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Health:
    """How an agent feels, in its own words; what it does not say is ``None``."""

    healthy: bool
    status: str
    agent_id: str | None = None
    version: str | None = None
    uptime_seconds: float | None = None
    load: Mapping[str, Any] | None = None


async def fetch_health(
    http: httpx2.AsyncClient, url: str, headers: Mapping[str, str] | None = None
) -> Health:
    """Return how the agent at ``url`` says that it feels; one that feels bad says so, too.

    Raises:
        AsapUnreachable: nobody answers there.
        AsapRefused: it does not tell.
        AsapInvalid: it says something else.

    """
    address = asap_address(url, insecure=True)
    async with _get(http, address.base_url + _HEALTH, headers or {}) as response:
        body = await read_bounded(response, _MAX_BYTES)
        well = response.status_code == httpx2.codes.OK
        if not well and response.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
            raise _no_such(response, "it does not tell its health")
        where = shown(str(response.url))
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("status"), str):
        raise AsapInvalid(f"{where} answered what is no health of an agent")
    return Health(
        healthy=well,
        status=said["status"],
        agent_id=_of(said, "agent_id", str),
        version=_of(said, "version", str),
        uptime_seconds=_of(said, "uptime_seconds", int, float),
        load=_of(said, "load", dict),
    )


def _of(said: dict[str, Any], name: str, *kinds: type) -> Any:
    value = said.get(name)
    return value if isinstance(value, kinds) and not isinstance(value, bool) else None


# --- asking ---------------------------------------------------------------------------------


@asynccontextmanager
async def _get(
    http: httpx2.AsyncClient, url: str, headers: Mapping[str, str]
) -> AsyncIterator[httpx2.Response]:
    try:
        async with http.stream("GET", url, headers={**headers, **ACCEPTED}) as response:
            yield response
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        why = str(error) or type(error).__name__
        raise AsapUnreachable(f"nobody answers at {shown(url)}: {why}") from error


async def read_bounded(response: httpx2.Response, max_bytes: int) -> bytes:
    """Return the body of ``response``, which was asked for with ``ACCEPTED``.

    It is inflated here, and not by what reads it, where a kilobyte can become the whole memory.

    Raises:
        AsapInvalid: it is larger than ``max_bytes``, or not in an encoding that was asked for.

    """
    where = shown(str(response.url))
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip"}:
        raise AsapInvalid(f"{where} answered in {encoding[:64]!r}, which was not asked for")
    gzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding == "gzip" else None
    plain = bytearray()
    async for chunk in response.aiter_raw():
        try:
            room = max_bytes + 1 - len(plain)
            plain += chunk if gzip is None else gzip.decompress(chunk, room)
        except zlib.error as error:
            raise AsapInvalid(f"{where} answered in damaged gzip: {error}") from None
        if len(plain) > max_bytes:
            raise AsapInvalid(f"{where} answered with more than {max_bytes} bytes")
    return bytes(plain)


def _no_such(response: httpx2.Response, what: str) -> AsapRefused:
    where = shown(str(response.url))
    return AsapRefused(response.status_code, f"{what}: {where} answered {response.status_code}")
