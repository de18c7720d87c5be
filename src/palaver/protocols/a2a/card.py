"""Agent cards (stubs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from palaver.model.profile import AgentProfile, SkillProfile
from palaver.protocols.a2a.commands import Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCard:
    name: str
    description: str
    version: str
    skills: tuple[SkillProfile, ...]
    interfaces: tuple[tuple[str, Generation], ...]
    streaming: bool


def card_v10(profile: AgentProfile, base_url: str) -> dict[str, Any]:
    raise NotImplementedError


def card_v03(profile: AgentProfile, base_url: str) -> dict[str, Any]:
    raise NotImplementedError


def card_v01(profile: AgentProfile, base_url: str) -> dict[str, Any]:
    raise NotImplementedError


def encode_card(card: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return the bytes and their strong ETag."""
    raise NotImplementedError


def parse_card(data: bytes | Mapping[str, Any]) -> PeerCard:
    raise NotImplementedError
