"""The agent card: how each generation reads it, and what a client makes of any of them.

Every card carries what the readers of older generations need beside what its own generation says,
so that a client which looks in the wrong place still finds the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Final

import orjson
from pydantic import BeforeValidator, Field

from palaver.model.profile import AgentProfile, SkillProfile
from palaver.protocols.a2a.commands import Generation
from palaver.protocols.a2a.errors import InvalidAgentResponse
from palaver.protocols.a2a.fields import Modes, Name, Text, Uri, WireModel
from palaver.protocols.a2a.violations import check_result

__all__ = ["PeerCard", "card_v01", "card_v03", "card_v10", "encode_card", "parse_card"]

_BINDING: Final = "JSONRPC"
_V03_VERSION: Final = "0.3.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCard:
    """What a peer's card says. ``interfaces``: JSON-RPC endpoints, best first."""

    name: str
    description: str
    version: str
    skills: tuple[SkillProfile, ...]
    interfaces: tuple[tuple[str, Generation], ...]
    streaming: bool


def card_v10(profile: AgentProfile, base_url: str) -> dict[str, Any]:
    """Return the card of 1.0, with the top-level fields by which 0.3 finds the endpoint."""
    url = _endpoint(base_url)
    interfaces = [
        {"url": url, "protocolBinding": _BINDING, "protocolVersion": version}
        for version in (Generation.V10, Generation.V03)
    ]
    return {
        **_described(profile),
        "supportedInterfaces": interfaces,
        "url": url,
        "preferredTransport": _BINDING,
        "protocolVersion": _V03_VERSION,
        "capabilities": {"streaming": True, "pushNotifications": False},
    }


def card_v03(profile: AgentProfile, base_url: str) -> dict[str, Any]:
    """Return the card of 0.3, which 0.2 reads as well."""
    url = _endpoint(base_url)
    return {
        **_described(profile),
        "url": url,
        "preferredTransport": _BINDING,
        "protocolVersion": _V03_VERSION,
        "additionalInterfaces": [{"url": url, "transport": _BINDING}],
        "capabilities": {
            "streaming": True,
            "pushNotifications": False,
            "stateTransitionHistory": False,
        },
    }


def card_v01(profile: AgentProfile, base_url: str) -> dict[str, Any]:
    """Return the card for ``/.well-known/agent.json``, where 0.1 and 0.2 look for theirs.

    Each field of 0.1 is one of 0.3 as well, but for the authentication, of which there is none.
    """
    return card_v03(profile, base_url)


def encode_card(card: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return the bytes of ``card`` and their strong ETag."""
    body = orjson.dumps(dict(card))
    return body, f'"{sha256(body).hexdigest()[:32]}"'


def parse_card(data: bytes | Mapping[str, Any]) -> PeerCard:
    """Return what a card says, of whatever generation.

    Raises:
        InvalidAgentResponse: it is no card.

    """
    if isinstance(data, bytes):
        try:
            data = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise InvalidAgentResponse(f"the card is not JSON: {error}") from None
    card = check_result(_Card, data, Generation.V10)
    return PeerCard(
        name=card.name,
        description=card.description or "",
        version=card.version or "",
        skills=tuple(_skill_from_wire(skill) for skill in card.skills),
        interfaces=tuple(dict.fromkeys(_interfaces(card))),
        streaming=bool(card.capabilities and card.capabilities.streaming),
    )


# --- profile → card ------------------------------------------------------------------------


def _endpoint(base_url: str) -> str:
    return f"{base_url.rstrip('/')}/a2a"


def _described(profile: AgentProfile) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": profile.name,
        "description": profile.description,
        "version": profile.version,
        "defaultInputModes": list(profile.input_modes),
        "defaultOutputModes": list(profile.output_modes),
        "skills": [_skill(skill) for skill in profile.skills],
    }
    if profile.documentation_url is not None:
        described["documentationUrl"] = profile.documentation_url
    return described


def _skill(skill: SkillProfile) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "id": skill.id,
        "name": skill.name,
        "description": skill.description,
        # Required, and a required array is never empty.
        "tags": list(skill.tags or (skill.id,)),
    }
    if skill.examples:
        wire["examples"] = list(skill.examples)
    return wire


# --- card → what a client needs ------------------------------------------------------------


class _Skill(WireModel):
    id: Name
    name: Name | None = None
    description: Text | None = None
    tags: Modes = ()
    examples: Annotated[
        tuple[Text, ...],
        Field(max_length=100),
        BeforeValidator(lambda value: () if value is None else value),
    ] = ()


class _Capabilities(WireModel):
    streaming: bool | None = None
    extensions: Any = None


class _Interface(WireModel):
    url: Uri
    transport: Name | None = None
    protocol_binding: Name | None = None
    protocol_version: Name | None = None


class _Card(WireModel):
    name: Name
    description: Text | None = None
    version: Name | None = None
    url: Uri | None = None
    protocol_version: Name | None = None
    preferred_transport: Name | None = None
    additional_interfaces: tuple[_Interface, ...] | None = Field(None, max_length=100)
    supported_interfaces: tuple[_Interface, ...] | None = Field(None, max_length=100)
    capabilities: _Capabilities | None = None
    skills: tuple[_Skill, ...] = Field((), max_length=1000)
    security: Any = None
    security_schemes: Any = None
    supports_authenticated_extended_card: Any = None


def _skill_from_wire(skill: _Skill) -> SkillProfile:
    return SkillProfile(
        id=skill.id,
        name=skill.name or skill.id,
        description=skill.description or "",
        tags=skill.tags,
        examples=skill.examples,
    )


def _interfaces(card: _Card) -> list[tuple[str, Generation]]:
    found = [
        (interface.url, generation)
        for interface in card.supported_interfaces or ()
        if interface.protocol_binding == _BINDING
        and (generation := _generation(interface.protocol_version)) is not None
    ]
    if card.protocol_version is None:
        older = Generation.V03 if _shows_v03(card) else Generation.V01
    else:
        older = _generation(card.protocol_version) or Generation.V03
    if card.url is not None and (card.preferred_transport or _BINDING) == _BINDING:
        found.append((card.url, older))
    found += [
        (interface.url, older)
        for interface in card.additional_interfaces or ()
        if interface.transport == _BINDING
    ]
    return found


def _generation(version: str | None) -> Generation | None:
    """Return the generation that speaks ``version``; 0.2 is read and written as 0.3."""
    major, _, rest = (version or "").partition(".")
    if major == "1":
        return Generation.V10
    if major == "0":
        return Generation.V01 if rest.partition(".")[0] == "1" else Generation.V03
    return None


def _shows_v03(card: _Card) -> bool:
    """Whether a card without a version (it came with 0.2.5) has what 0.1 had not yet."""
    signs = (
        card.preferred_transport,
        card.additional_interfaces,
        card.security,
        card.security_schemes,
        card.supports_authenticated_extended_card,
        card.capabilities and card.capabilities.extensions,
    )
    return any(sign is not None for sign in signs)
