"""The composition root: settings and agents in, one ASGI application out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from palaver.config import Settings
from palaver.engine.agent import Agent
from palaver.engine.engine import Engine
from palaver.errors import ConfigError
from palaver.observability.metrics import Registry
from palaver.protocols.asap.replay import ReplayGuard
from palaver.protocols.asp.call import Call, CallListener, Silence
from palaver.protocols.asp.config import Framing, ProtocolCapabilities
from palaver.protocols.asp.messages import Feature
from palaver.protocols.asp.session import apply_as_negotiated
from palaver.server.a2a import A2aEndpoint, A2aLimits
from palaver.server.a2a_stream import StreamTimes
from palaver.server.admission import Admission
from palaver.server.asap import AsapEndpoint, AsapLimits
from palaver.server.asap_calls import AsapCalls, Extensions
from palaver.server.asap_manifest import HealthEndpoint, ManifestEndpoint
from palaver.server.asap_metrics import AsapMetrics
from palaver.server.asap_rate import CallerRates
from palaver.server.asap_sockets import AsapSockets
from palaver.server.asp import AspEndpoint
from palaver.server.asp_echo import EchoTest
from palaver.server.asp_metrics import AspMetrics
from palaver.server.drain import Drain
from palaver.server.listener import bind
from palaver.server.operations import Liveness, Metrics, Readiness
from palaver.server.wellknown import CardEndpoint
from palaver.speech.backchannel import Backchannels
from palaver.speech.open import Engines, open_engines
from palaver.speech.voice import Voice
from palaver.storage.interfaces import Storage
from palaver.storage.open import open_storage

try:  # needs an extra
    from palaver.server.asp_dense import DensePort
    from palaver.server.picows_socket import SocketLimits
except ModuleNotFoundError as _missing:
    if _missing.name != "picows":
        raise
    _HAS_PICOWS = False
else:
    _HAS_PICOWS = True

__all__ = ["App", "create_app"]

_log = structlog.get_logger("palaver.app")
_A2A_PATH: Final = "/a2a"
_ASAP_PATH: Final = "/asap"
_ASP_PATHS: Final = ("/asp", "/", "/agents/{agent_id}/asp")
_LEGACY_METHODS: Final = ("tasks/sendSubscribe", "tasks/send")


class App:
    """One server: an ASGI application with a store and an engine behind it.

    Its lifespan opens the store and starts the engine; ``drain`` goes out of service, and may be
    called before the lifespan ends. ``peers`` are those that speak ASAP over WebSockets.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        settings: Settings,
        storage: Storage,
        engines: Engines | None = None,
        extensions: Extensions | None = None,
    ) -> None:
        self.storage: Final = storage
        self.engine: Final = Engine(storage, agents, limits=settings.limits())
        self._settings = settings
        self._drain = Drain()
        self._drained = False
        self._registry = Registry()
        self._listening: socket.socket | None = None
        self._voice = self._open_voice(agents, engines) if settings.voice else None
        self._asp = AspEndpoint(
            _asp_capabilities(settings),
            settings.asp_limits(),
            self._admission(settings.asp_max_sockets),
            answer=self._who_answers(),
            configure=apply_as_negotiated if self._voice is None else self._voice.configure,
            server_id=agents[0].id,
            metrics=AspMetrics(self._registry),
        )
        self._asap, self.peers = self._open_asap(extensions)
        self._dense = None if settings.asp_port is None else self._dense_port()
        app = Starlette(
            routes=self._routes(agents[0].id),
            lifespan=self._lifespan,
            exception_handlers={404: _not_found, 405: _not_allowed, 500: _broke},
        )
        app.router.redirect_slashes = False  # to wherever the client's Host header says
        app.router.default = _nothing_there
        self.asgi: Final[ASGIApp] = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or event, as ASGI says."""
        # The two paths that nearly all requests take need no router and no middleware: they cost
        # a fifth of a short request, and the endpoints answer every error by themselves.
        if scope["type"] == "http" and scope["path"] == _A2A_PATH:
            await self._a2a(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == _ASAP_PATH:
            await self._asap(scope, receive, send)
        else:
            await self.asgi(scope, receive, send)

    def _admission(self, max_sockets: int) -> Admission:
        return Admission(
            self._drain,
            list(self.engine.agents),
            origins=_origins(self._settings),
            max_sockets=max_sockets,
        )

    def _open_asap(self, extensions: Extensions | None) -> tuple[AsapEndpoint, AsapSockets]:
        settings = self._settings
        metrics = AsapMetrics(self._registry)
        calls = AsapCalls(
            self.engine,
            next(iter(self.engine.agents)),
            self._drain,
            send_timeout=settings.asap_send_timeout,
            max_calls=settings.asap_max_calls,
            guard=ReplayGuard(settings.asap_replay_limits()),
            extensions=extensions,
        )
        limits = AsapLimits(
            max_body_bytes=settings.max_body_bytes,
            body_timeout=settings.body_timeout,
            max_batch_calls=settings.asap_max_batch_calls,
        )
        rates = CallerRates(settings.asap_max_requests_per_minute)
        admission = self._admission(settings.asap_max_sockets)
        sockets = AsapSockets(self.engine, calls, settings.asap_limits(), admission, metrics)
        return AsapEndpoint(calls, limits, rates, metrics), sockets

    def _open_voice(self, agents: Sequence[Agent], engines: Engines | None) -> Voice:
        settings = self._settings
        return Voice(
            self.engine,
            agents[0].id,
            engines or open_engines(settings.voice_engines(), agents),
            registry=self._registry,
            options=settings.voice_options(),
            detector=settings.voice_detector,
            is_backchannel=Backchannels() if settings.voice_backchannels else None,
        )

    def _who_answers(self) -> Callable[[Call], CallListener]:
        if self._settings.asp_echo_test:
            return EchoTest
        return Silence if self._voice is None else self._voice.answer

    def bind(self) -> tuple[str, int] | None:
        """Take the port for calls, where one is set, and return its address.

        The lifespan does so as well, where nobody did before.

        Raises:
            ConfigError: the address cannot be had; the text says what to do.

        """
        settings = self._settings
        if settings.asp_port is None:
            return None
        if self._listening is None:
            self._listening = bind(settings.host, settings.asp_port, option="--asp-port")
        return settings.host, self._listening.getsockname()[1]

    async def drain(self) -> None:
        """Take no more work, let tasks end for the time that is set, and pass on the rest."""
        if self._drained:
            return
        self._drained = True
        self._drain.begin()
        if self._dense is not None:
            self._dense.close()
        patience = self._settings.drain_timeout
        await asyncio.gather(
            self.engine.stop(patience), self._asp.drain(patience), self.peers.drain(patience)
        )
        self._drain.finish()

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        await self.storage.open()
        try:
            await self.engine.start()
            self._asp.start()
            if self._dense is not None and self.bind() and self._listening is not None:
                await self._dense.start(self._listening)
            yield
        finally:
            await asyncio.shield(self._close())

    async def _close(self) -> None:
        await self.drain()
        if self._voice is not None:
            await self._voice.close()
        if self._dense is not None:
            await self._dense.stop()
        if self._listening is not None:
            self._listening.close()
        await self.storage.close()

    def _dense_port(self) -> DensePort:
        if not _HAS_PICOWS:
            message = "asp_port needs picows: pip install 'palaver[dense]'"
            raise ConfigError(message)
        settings = self._settings
        return DensePort(
            self._asp,
            [WebSocketRoute(path, self._asp) for path in _ASP_PATHS],
            limits=SocketLimits(
                max_message_bytes=settings.websocket_max_message_bytes,
                send_timeout=settings.websocket_send_timeout,
                ping_interval=settings.websocket_ping_interval,
                pong_timeout=settings.websocket_pong_timeout,
            ),
            handshake_timeout=settings.body_timeout,
            on_round=(lambda: None) if self._voice is None else self._voice.hurry,
        )

    def _routes(self, default: str) -> list[BaseRoute]:
        settings = self._settings
        limits = A2aLimits(
            max_body_bytes=settings.max_body_bytes,
            body_timeout=settings.body_timeout,
            send_timeout=settings.send_timeout,
            stream=StreamTimes(
                heartbeat_interval=settings.heartbeat_interval,
                silence_timeout=settings.stream_silence_timeout,
                idle_timeout=settings.stream_idle_timeout,
                retry_interval=settings.retry_interval,
            ),
        )
        self._a2a = endpoint = A2aEndpoint(self.engine, default, limits, self._drain)
        public_url = None if settings.public_url is None else str(settings.public_url).rstrip("/")
        card = CardEndpoint(self.engine, default, public_url, legacy=False)
        old_card = CardEndpoint(self.engine, default, public_url, legacy=True)
        routes: list[BaseRoute] = [
            Route("/healthz", Liveness(), methods=["GET"]),
            Route("/metrics", Metrics(self._registry), methods=["GET"]),
            Route("/readyz", Readiness(self.engine, self._drain), methods=["GET"]),
        ]
        for prefix in ("", "/agents/{agent_id}"):
            routes += [
                Route(f"{prefix}{_A2A_PATH}", endpoint),
                Route(f"{prefix}/.well-known/agent-card.json", card, methods=["GET"]),
                Route(f"{prefix}/.well-known/agent.json", old_card, methods=["GET"]),
            ]
        routes += self._asap_routes(default, public_url)
        routes += [WebSocketRoute(path, self._asp) for path in _ASP_PATHS]
        for method in _LEGACY_METHODS:
            legacy = A2aEndpoint(self.engine, default, limits, self._drain, method)
            routes += [
                Route(f"{prefix}/agents/{{agent_id}}/{method}", legacy)
                for prefix in ("", "/api/v1")
            ]
        return routes

    def _asap_routes(self, default: str, public_url: str | None) -> list[BaseRoute]:
        manifest = ManifestEndpoint(self.engine, default, public_url)
        health = HealthEndpoint(self.engine, default, self._drain)
        routes: list[BaseRoute] = []
        for prefix in ("", "/agents/{agent_id}"):
            well_known = f"{prefix}/.well-known/asap"
            routes += [
                Route(f"{prefix}{_ASAP_PATH}", self._asap),
                WebSocketRoute(f"{prefix}{_ASAP_PATH}/ws", self.peers),
                Route(f"{well_known}/manifest.json", manifest, methods=["GET"]),
                Route(f"{well_known}/health", health, methods=["GET"]),
            ]
        return routes


def create_app(
    agents: Sequence[Agent],
    settings: Settings,
    storage: Storage | None = None,
    engines: Engines | None = None,
    extensions: Extensions | None = None,
) -> App:
    """Return the application that serves ``agents``; the first one answers where none is named.

    ``storage`` and ``engines`` of speech take the place of those that the settings name.
    ``extensions`` answer what peers call over ASAP that is no task: tools and resources of MCP.

    Raises:
        ConfigError: two agents share an id, there is none, or the store's URL means nothing.

    """
    if not agents:
        message = "there is no agent to serve"
        raise ConfigError(message)
    ids = [agent.id for agent in agents]
    for agent_id in ids:
        if ids.count(agent_id) > 1:
            message = f"two agents have the id {agent_id!r}: give one of them another (id=…)"
            raise ConfigError(message)
    return App(agents, settings, storage or open_storage(settings.store), engines, extensions)


def _origins(settings: Settings) -> tuple[str, ...]:
    """Return the pages that may open WebSockets, beside those at this machine's addresses."""
    if settings.public_url is None:
        return settings.asp_allowed_origins
    url = urlsplit(str(settings.public_url))
    return (*settings.asp_allowed_origins, f"{url.scheme}://{url.netloc}")


def _asp_capabilities(settings: Settings) -> ProtocolCapabilities:
    return ProtocolCapabilities(
        supported_sample_rates=settings.asp_sample_rates,
        supported_encodings=settings.asp_encodings,
        supported_framings=tuple(Framing),
        vad_configurable=settings.asp_vad_configurable,
        max_session_duration_seconds=int(settings.asp_max_session_seconds),
        features=tuple(Feature),
    )


async def _nothing_there(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer where no route leads."""
    if scope["type"] == "http":
        raise HTTPException(404)
    refusal = JSONResponse({"error": f"there is no WebSocket at {scope['path']}"}, 404)
    await refusal(scope, receive, send)


async def _not_found(request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": f"there is nothing at {request.url.path}"}, 404)


async def _not_allowed(request: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None)
    return JSONResponse({"error": f"{request.method} is not taken here"}, 405, headers=headers)


async def _broke(_request: Request, error: Exception) -> Response:
    _log.error("request_failed", exc_info=error)
    return JSONResponse({"error": "internal error"}, 500)
