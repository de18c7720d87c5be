"""The ASAP client: tasks of another agent, over HTTP or a WebSocket, by one set of calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self, TypedDict, Unpack

import httpx2

from palaver.client.asap_discovery import (
    Health,
    ManifestCache,
    asap_address,
    fetch_health,
    socket_url,
)
from palaver.client.asap_errors import AsapInvalid, AsapRefused, AsapUnreachable
from palaver.client.asap_http import Headers, HttpLink, headers_of
from palaver.client.asap_socket import OnMessage, SocketLink
from palaver.client.circuit import Circuit, Circuits, Passage
from palaver.client.transport import Patience, http_client
from palaver.engine.clock import new_id, wall_clock
from palaver.errors import PeerError
from palaver.model.ids import IdSource
from palaver.protocols.asap.client_connection import CONFIRMED
from palaver.protocols.asap.errors import AsapError
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.manifest import Manifest
from palaver.protocols.asap.messages import (
    ASAP_VERSION,
    Envelope,
    MessageSend,
    Payload,
    StateQuery,
    TaskCancel,
    TaskConfig,
    TaskRequest,
    TaskResponse,
    TextPart,
    moment,
    payload_type_of,
    read_payload,
)
from palaver.protocols.asap.spelling import Spelling, spelled

__all__ = ["DEFAULT_SENDER", "AsapClient", "AsapSettings", "SendOptions", "Transport"]

Transport = Literal["auto", "http", "websocket"]
DEFAULT_SENDER: Final = "urn:asap:agent:palaver-client"
_TIMEOUT: Final = 60.0
_PATIENCE: Final = Patience(
    connect_timeout=10.0,
    silence_timeout=50.0,
    first_delay=1.0,
    max_delay=30.0,
    give_up_after=300.0,
)
_LIMITS: Final = Limits()
_SERVER_ERROR: Final = range(500, 600)
_TOO_BUSY: Final = frozenset({429, -32001, -32031})


@dataclass(frozen=True, slots=True, kw_only=True)
class AsapSettings:
    """How a client goes about it.

    ``attempts``: tries of one request over HTTP. ``max_reconnects``: WebSockets that may fail in
    a row before what waits is given up; ``None`` for any number. ``circuits``: shared by clients
    that should leave a failing peer alone together; ``None``: it is tried each time.
    ``manifests``: shared by clients that should ask for one manifest once. ``spelling``: how
    payload types are written; ``None``: as the peer takes them. ``compress_socket``: offer
    permessage-deflate.
    """

    patience: Patience = _PATIENCE
    limits: Limits = _LIMITS
    attempts: int = 3
    max_reconnects: int | None = None
    circuits: Circuits | None = None
    manifests: ManifestCache | None = None
    spelling: Spelling | None = None
    compress_socket: bool = False
    ids: IdSource = new_id
    http: httpx2.AsyncClient | None = None


class SendOptions(TypedDict, total=False):
    """What may be said of any request.

    ``recipient``: the URN of the agent; that of the manifest, where none is named. ``timeout``
    (s, 60): for the answer; over HTTP, of each try. ``idempotency_key``: by which the peer knows
    a request that came before; where none is given it knows tries of one ``send`` only.
    """

    recipient: str | None
    idempotency_key: str | None
    timeout: float
    trace_id: str | None
    extensions: Mapping[str, Any] | None


class AsapClient:
    """Asks the agent at ``url``. Use it in an ``async with`` block.

    Args:
        url: The agent's base, or one of its endpoints: http(s) or ws(s).
        transport: How to ask; ``auto`` goes by the URL. ``websocket`` with an http(s) URL goes
            where the manifest says that events are.
        sender: Who asks, as a URN.
        recipient: Who is asked; that of the manifest, where none is named.
        headers: What goes with each request, such as ``Authorization``; or who knows it.
        on_message: Told each envelope that is no answer, in order, and waited for: the progress
            of a task, an artifact. What it raises is logged. WebSockets only.
        insecure: Whether what is said may be read on the way to another machine.
        settings: How to go about it.

    Every method raises ``AsapRefused`` (a ``PeerRefused``) for an error that the peer answers,
    ``AsapInvalid`` (a ``PeerError``) for an answer that is none, and ``AsapUnreachable`` (a
    ``PeerUnreachable``) where there is no answer; each has the code of ASAP in ``uri``.

    """

    def __init__(
        self,
        url: str,
        *,
        transport: Transport = "auto",
        sender: str = DEFAULT_SENDER,
        recipient: str | None = None,
        headers: Headers | None = None,
        on_message: OnMessage | None = None,
        insecure: bool = False,
        settings: AsapSettings | None = None,
    ) -> None:
        self.settings: Final = settings or AsapSettings()
        self.address: Final = asap_address(url, insecure=insecure)
        self.transport: Final = self.address.meant if transport == "auto" else transport
        self.sender: Final = sender
        self._recipient = recipient
        self._headers: Headers = {} if headers is None else headers
        self._on_message = on_message
        self._insecure = insecure
        self._spelling = self.settings.spelling
        self._manifests = self.settings.manifests or ManifestCache()
        self._http = self.settings.http or http_client(self.settings.patience)
        self._post = HttpLink(
            self.address.post_url,
            self._http,
            self.settings.patience,
            attempts=self.settings.attempts,
            headers=self._headers,
            ids=self.settings.ids,
        )
        self._socket: SocketLink | None = None
        self._locating = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        """Open the WebSocket, where there is to be one."""
        try:
            if self.transport == "websocket":
                await self.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    async def connect(self) -> None:
        """See that the WebSocket is open; it is opened once, and comes back by itself.

        Raises:
            PeerError: it cannot be opened.

        """
        await (await self._link()).connect()

    async def close(self) -> None:
        """Close the WebSocket, and HTTP unless it was given: seconds at most.

        Requests that have no answer yet end in ``AsapUnreachable``.
        """
        self._closed = True
        self._post.close()
        if self._socket is not None:
            await self._socket.close()
        if self.settings.http is None:
            await self._http.aclose()

    @property
    def usable(self) -> bool:
        """Whether a request would go out now, as far as is known here."""
        if self.transport == "http" or self._socket is None:
            return not self._closed
        return self._socket.attached and not self._closed

    # --- asking -----------------------------------------------------------------------------

    async def send(
        self,
        payload: Payload,
        *,
        correlation_id: str | None = None,
        **options: Unpack[SendOptions],
    ) -> Envelope:
        """Send a payload, and return the envelope that answers.

        Over a WebSocket, it is sent again on the next one where the one before was lost; the peer
        knows it by the same envelope id. Cancelling this forgets the request; the peer may do it
        all the same.
        """
        recipient = options.get("recipient") or self._recipient
        if recipient is None:
            recipient = self._recipient = (await self.manifest()).id
        spelling = self._spelling or Spelling.CAMEL
        extensions = options.get("extensions")
        kind = payload_type_of(payload)
        envelope = Envelope(
            id=self.settings.ids("env"),
            asap_version=ASAP_VERSION,
            timestamp=moment(wall_clock()),
            sender=self.sender,
            recipient=recipient,
            payload_type=spelled(kind, spelling),
            payload=payload.wire(),
            correlation_id=correlation_id,
            trace_id=options.get("trace_id"),
            requires_ack=self.transport == "websocket" and kind in CONFIRMED,
            extensions=None if extensions is None else dict(extensions),
        )
        key, timeout = options.get("idempotency_key"), options.get("timeout", _TIMEOUT)
        try:
            answer = await self._exchange(envelope, key, timeout)
        except AsapRefused as refusal:
            if self._spelling is not None or not _knows_no_type(refusal):
                raise
            # Servers of 1.1 know either TaskRequest or task.request; nothing was done.
            spelling = Spelling.DOTTED
            changed = {
                "id": self.settings.ids("env"),
                "payload_type": spelled(kind, spelling),
            }
            answer = await self._exchange(envelope.model_copy(update=changed), key, timeout)
        self._spelling = spelling
        return answer

    async def request_task(
        self,
        skill_id: str,
        input: Mapping[str, Any],  # noqa: A002 -- the word of the wire
        *,
        conversation_id: str | None = None,
        parent_task_id: str | None = None,
        config: TaskConfig | None = None,
        **options: Unpack[SendOptions],
    ) -> TaskResponse:
        """Have the agent do something, and return what came of it, or how it stands."""
        request = TaskRequest(
            conversation_id=conversation_id or self.settings.ids("conv"),
            skill_id=skill_id,
            input=dict(input),
            parent_task_id=parent_task_id,
            config=config,
        )
        return _response(await self.send(request, **options))

    async def cancel(
        self, task_id: str, reason: str | None = None, **options: Unpack[SendOptions]
    ) -> TaskResponse:
        """Stop a task, and return how it stands then."""
        return _response(await self.send(TaskCancel(task_id=task_id, reason=reason), **options))

    async def answer(self, task_id: str, text: str, **options: Unpack[SendOptions]) -> TaskResponse:
        """Say something in a task that asked for it, and return how it stands once it settles."""
        message = MessageSend(
            task_id=task_id,
            message_id=self.settings.ids("msg"),
            sender=self.sender,
            role="user",
            parts=(TextPart(type="text", content=text),),
        )
        return _response(await self.send(message, **options))

    async def state(
        self, task_id: str, version: int | None = None, **options: Unpack[SendOptions]
    ) -> TaskResponse:
        """Return how a task stands; ``final_state`` is its snapshot, the latest or ``version``."""
        return _response(await self.send(StateQuery(task_id=task_id, version=version), **options))

    async def manifest(self) -> Manifest:
        """Return what the agent says of itself, as new as it said that it must be."""
        headers = await headers_of(self._headers)
        return await self._manifests.get(self._http, self.address.base_url, headers)

    async def health(self) -> Health:
        """Return how the agent says that it feels."""
        headers = await headers_of(self._headers)
        return await fetch_health(self._http, self.address.base_url, headers)

    # --- inside -----------------------------------------------------------------------------

    async def _exchange(self, envelope: Envelope, key: str | None, timeout: float) -> Envelope:  # noqa: ASYNC109
        if self._closed:
            raise AsapUnreachable("the client is closed", local=True)
        circuits = self.settings.circuits
        if circuits is None:
            return await self._ask(envelope, key, timeout)
        circuit = circuits.of(self.address.base_url)
        passage = _admitted(circuit, self.address.base_url)
        try:
            answer = await self._ask(envelope, key, timeout)
        except PeerError as error:
            if isinstance(error, AsapUnreachable) and error.local:
                circuit.abandoned(passage)
            elif _is_failure(error):
                circuit.failed(passage, asyncio.get_running_loop().time())
            else:
                circuit.succeeded(passage)
            raise
        except BaseException:
            circuit.abandoned(passage)
            raise
        circuit.succeeded(passage)
        return answer

    async def _ask(self, envelope: Envelope, key: str | None, timeout: float) -> Envelope:  # noqa: ASYNC109
        if self.transport == "http":
            return await self._post.exchange(envelope, key or self.settings.ids("key"), timeout)
        socket = self._socket or await self._link()
        return await socket.exchange(envelope, key, timeout)

    async def _link(self) -> SocketLink:
        async with self._locating:
            if self._closed:
                raise AsapUnreachable("the client is closed", local=True)
            if self._socket is None:
                settings = self.settings
                self._socket = SocketLink(
                    await self._socket_url(),
                    settings.patience,
                    settings.limits,
                    headers=self._headers,
                    on_message=self._on_message,
                    max_reconnects=settings.max_reconnects,
                    compress=settings.compress_socket,
                    ids=settings.ids,
                )
            return self._socket

    async def _socket_url(self) -> str:
        """Return where the WebSocket goes; a peer without a manifest has it at the usual path."""
        if self.address.meant == "websocket":
            return self.address.socket_url
        try:
            manifest = await self.manifest()
        except (AsapInvalid, AsapRefused):
            return self.address.socket_url
        return socket_url(self.address, manifest, insecure=self._insecure)


def _response(envelope: Envelope) -> TaskResponse:
    try:
        payload = read_payload(envelope)
    except AsapError as error:
        raise AsapInvalid(f"the agent answered what cannot be read: {error.message}") from None
    if not isinstance(payload, TaskResponse):
        raise AsapInvalid(f"the agent answered with a {envelope.payload_type}, no TaskResponse")
    return payload


def _knows_no_type(refusal: AsapRefused) -> bool:
    """Tell whether a peer has nobody for payloads of that type, so spelled."""
    said = refusal.data if isinstance(refusal.data, dict) else {}
    details = said.get("details")
    named = "payload_type" in said or (isinstance(details, dict) and "payload_type" in details)
    return refusal.code in {-32601, -32012} and named


def _admitted(circuit: Circuit, where: str) -> Passage:
    now = asyncio.get_running_loop().time()
    passage = circuit.admit(now)
    if passage is None:
        raise AsapUnreachable(
            f"{where} failed again and again: it is left alone for {circuit.retry_in(now):.0f} s",
            "asap:transport/circuit_open",
        )
    return passage


def _is_failure(error: PeerError) -> bool:
    """Tell whether an error says that the peer is in trouble, and not that we are."""
    if isinstance(error, AsapRefused):
        return error.code in _SERVER_ERROR or error.code in _TOO_BUSY
    return isinstance(error, AsapUnreachable)
