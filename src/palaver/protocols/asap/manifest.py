"""The manifest of an agent: what ours says, and what a client makes of anybody's.

What is served has the members of ASAP 1.1 and no others: clients of 1.1 refuse a manifest with one
that they do not know. What is read may have any: later releases have many more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final
from urllib.parse import urlsplit, urlunsplit

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from palaver.model.ids import slug
from palaver.model.profile import AgentProfile
from palaver.protocols.asap.errors import MalformedEnvelope
from palaver.protocols.asap.fields import AgentUrn, Object, Text, Uri, Word
from palaver.protocols.asap.messages import ASAP_VERSION
from palaver.protocols.asap.violations import malformed

__all__ = [
    "DEFAULT_TTL",
    "Capabilities",
    "Endpoints",
    "Manifest",
    "ManifestAuth",
    "OAuth2",
    "Skill",
    "agent_id_of",
    "agent_urn",
    "encode_manifest",
    "manifest_of",
    "parse_manifest",
]

DEFAULT_TTL: Final = 300
"""Seconds for which a manifest may be kept."""

_URN: Final = "urn:asap:agent:"


class _Said(BaseModel):
    """Frozen; a member that it does not know is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Skill(_Said):
    """One thing that the agent can do. The schemas are JSON Schemas."""

    id: Word
    description: Text = ""
    input_schema: Object | None = None
    output_schema: Object | None = None


class Capabilities(_Said):
    """What the agent can do, and how."""

    asap_version: Word = ASAP_VERSION
    skills: Annotated[tuple[Skill, ...], Field(max_length=1000)] = ()
    state_persistence: bool = False
    streaming: bool = False
    mcp_tools: Annotated[tuple[Word, ...], Field(max_length=1000)] = ()


class Endpoints(_Said):
    """Where the agent is: ``asap`` takes the ``POST``, ``events`` is the WebSocket."""

    asap: Uri
    events: Uri | None = None


class OAuth2(_Said):
    """Where tokens come from."""

    authorization_url: Uri | None = None
    token_url: Uri | None = None
    scopes: Annotated[tuple[Word, ...], Field(max_length=100)] = ()


class ManifestAuth(_Said):
    """What a caller has to show. With ``oauth2`` set, ``bearer`` is the scheme to name.

    Clients of ASAP know ``bearer`` and ``basic``, and refuse a manifest that names another.
    """

    schemes: Annotated[tuple[Word, ...], Field(max_length=16)]
    oauth2: OAuth2 | None = None


class Manifest(_Said):
    """What an agent says of itself."""

    id: AgentUrn
    name: Text
    version: Word
    description: Text = ""
    capabilities: Capabilities = Capabilities()
    endpoints: Endpoints
    auth: ManifestAuth | None = None
    signature: Text | None = None
    ttl_seconds: Annotated[int, Field(ge=1, le=2**31)] = DEFAULT_TTL


def agent_urn(agent_id: str) -> str:
    """Return the URN of the agent with that id."""
    return _URN + agent_id


def agent_id_of(urn: str) -> str | None:
    """Return the id of the agent with that URN; ``None`` for a URN of another kind."""
    agent_id = urn.removeprefix(_URN)
    return None if agent_id == urn or ":" in agent_id else agent_id


def manifest_of(
    profile: AgentProfile,
    base_url: str,
    *,
    auth: ManifestAuth | None = None,
    state_persistence: bool = True,
) -> Manifest:
    """Return the manifest of the agent that is served under ``base_url`` (``http`` or ``https``).

    ``streaming`` is of later releases, a stream of its own, and so is false here.
    """
    base = base_url.rstrip("/")
    skills = tuple(
        Skill(id=skill.id, description=skill.description or skill.id) for skill in profile.skills
    )
    return Manifest(
        id=agent_urn(profile.id),
        name=profile.name,
        version=_version(profile.version),
        description=profile.description,
        capabilities=Capabilities(skills=skills, state_persistence=state_persistence),
        endpoints=Endpoints(asap=f"{base}/asap", events=_socket_url(base)),
        auth=auth,
    )


_PEP_440: Final = re.compile(
    r"v?(\d+!)?\d+(\.\d+)*([-_.]?(a|b|c|rc|alpha|beta|pre|preview)[-_.]?\d*)?"
    r"(-\d+|[-_.]?(post|rev|r)[-_.]?\d*)?([-_.]?dev[-_.]?\d*)?(\+[a-z0-9]+([-_.][a-z0-9]+)*)?\Z",
    re.ASCII | re.IGNORECASE,
)


def _version(version: str) -> str:
    """Return ``version`` where clients of ASAP can read it, else one that they can, with it."""
    if _PEP_440.match(version):
        return version
    return f"0+{slug(version)}" if slug(version) else "0"


def _socket_url(base: str) -> str:
    scheme, *rest = urlsplit(f"{base}/asap/ws")
    return urlunsplit(("wss" if scheme == "https" else "ws", *rest))


def encode_manifest(manifest: Manifest) -> tuple[bytes, str]:
    """Return the bytes of ``manifest`` and their strong ETag: SHA-256 of the sorted JSON."""
    said = manifest.model_dump(mode="json")
    body = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    return body, f'"{sha256(body).hexdigest()}"'


def parse_manifest(data: bytes | Mapping[str, Any]) -> Manifest:
    """Return what a manifest says; members that ASAP 1.1 does not know are left out.

    Raises:
        MalformedEnvelope: it is no manifest; the message names the first field that is wrong.

    """
    if isinstance(data, bytes):
        try:
            data = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise MalformedEnvelope(f"the manifest is not JSON: {error}") from None
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise malformed(error, "manifest") from None
