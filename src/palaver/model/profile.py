"""What an agent says of itself; each wire spells it as its card or manifest."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AgentProfile", "SkillProfile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillProfile:
    """One thing that an agent can do. The first word of a text may name it by ``id``."""

    id: str
    name: str
    description: str
    tags: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentProfile:
    """An agent as others see it. ``input_modes`` and ``output_modes`` are media types."""

    id: str
    name: str
    description: str
    version: str
    skills: tuple[SkillProfile, ...]
    documentation_url: str | None = None
    input_modes: tuple[str, ...] = ("text/plain", "application/json")
    output_modes: tuple[str, ...] = ("text/plain", "application/json")
