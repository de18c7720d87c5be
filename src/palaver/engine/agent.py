"""The agent that a user writes: a name, and skills that are functions of a turn."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from palaver.engine.outputs import Output
from palaver.engine.phrases import Phrase, Phrases, is_all_of
from palaver.errors import AgentError, UnknownSkill
from palaver.model.ids import slug
from palaver.model.profile import AgentProfile, SkillProfile

if TYPE_CHECKING:
    from palaver.engine.turn import Turn

__all__ = ["Agent", "Handler", "Skill"]


Handler: TypeAlias = Callable[
    ["Turn"],
    AsyncIterator[Output] | Iterator[Output] | Awaitable[Output | None] | Output | None,
]
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill of an agent: what others read of it, and the function that does it."""

    profile: SkillProfile
    handler: Handler
    restartable: bool


class Agent:
    """An agent with its skills; the same object serves every wire.

    Args:
        name: For people. Its slug is the agent's id.
        description: What the agent does, in a sentence.
        version: Of the agent, not of Palaver.
        id: Where the slug of the name will not do.
        restartable: Whether a task may run again from the start when its worker dies.
        timeout: Seconds that a task may run; the time in which it waits for input does not count.
        documentation_url: Where people read more.

    Raises:
        AgentError: the name or the id cannot stand in a path.

    """

    def __init__(
        self,
        name: str,
        *,
        description: str = "",
        version: str = "0.1.0",
        id: str | None = None,  # noqa: A002 - the word that users expect
        restartable: bool = False,
        timeout: float = 600.0,
        documentation_url: str | None = None,
    ) -> None:
        self.id = slug(name) if id is None else id
        if not self.id or self.id != slug(self.id):
            message = (
                f"agent id {self.id!r}: use lower-case letters, digits and hyphens "
                f"(from the name {name!r}, or given as id=…)"
            )
            raise AgentError(message)
        if timeout <= 0:
            message = f"agent {self.id!r}: timeout must be more than 0 seconds, not {timeout!r}"
            raise AgentError(message)
        self.name = name
        self.description = description
        self.version = version
        self.restartable = restartable
        self.timeout = timeout
        self.documentation_url = documentation_url
        self._skills: dict[str, Skill] = {}
        self._default: str | None = None
        self._phrases = Phrases(self.id)

    def skill(
        self,
        id: str,  # noqa: A002 - the word that users expect
        *,
        name: str | None = None,
        description: str = "",
        tags: tuple[str, ...] = (),
        examples: tuple[str, ...] = (),
        default: bool = False,
        restartable: bool | None = None,
        phrases: Mapping[str, Sequence[str]] | None = None,
    ) -> Callable[[_Decorated], _Decorated]:
        """Make the decorated function a skill of this agent.

        The function takes a ``Turn``. It may be an async generator, a coroutine function, a
        generator or a plain function (the last two run in a thread). The first skill, or the one
        with ``default=True``, takes every text that means no other.

        ``phrases`` are how people say it, by language: ``{"en": ("count to {5|10}",)}``. What
        stands in braces are alternatives, and the one that was said is the text of the turn.

        Raises:
            AgentError: the id is not one word, is taken, there is a default already, or a phrase
                cannot be used: it is empty, over 200 characters, has braces that do not match or
                means another skill, or the agent has more than 2,000 with its alternatives.

        """

        def register(handler: _Decorated) -> _Decorated:
            self._check(id, handler, default=default)
            profile = SkillProfile(
                id=id,
                name=name or id,
                description=description or inspect.getdoc(handler) or id,
                tags=tags,
                examples=examples,
            )
            self._phrases.add(phrases or {}, id)
            again = self.restartable if restartable is None else restartable
            self._skills[id] = Skill(profile, handler, again)
            if default:
                self._default = id
            return handler

        return register

    def _check(self, id: str, handler: object, *, default: bool) -> None:  # noqa: A002
        if not id or any(char.isspace() for char in id):
            message = f"agent {self.id!r}: skill id {id!r} must be one word"
            raise AgentError(message)
        if id in self._skills:
            message = f"agent {self.id!r} has a skill {id!r} already"
            raise AgentError(message)
        if default and self._default is not None:
            message = f"agent {self.id!r} has a default skill already: {self._default!r}"
            raise AgentError(message)
        if not callable(handler):
            message = f"agent {self.id!r}: skill {id!r} must be a function of a turn"
            raise AgentError(message)

    def expect(self, language: str, *phrases: str) -> None:
        """Declare what people answer to questions of this agent, in ``language``.

        It chooses no skill; it tells an engine that hears speech what it may hear.

        Raises:
            AgentError: a phrase cannot be used; see ``skill``.

        """
        self._phrases.add({language: phrases}, None)

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """What people say to this agent, alternatives written out, as it was declared."""
        return self._phrases.all

    def language_of(self, text: str) -> str | None:
        """Return the language of the phrase that ``text`` equals; ``None`` where it equals none."""
        phrase = self._phrases.find(text)
        return None if phrase is None else phrase.language

    @property
    def profile(self) -> AgentProfile:
        """What others read of this agent."""
        return AgentProfile(
            id=self.id,
            name=self.name,
            description=self.description or self.name,
            version=self.version,
            skills=tuple(skill.profile for skill in self._skills.values()),
            documentation_url=self.documentation_url,
        )

    def choose(self, text: str, skill_id: str | None = None) -> tuple[Skill, str]:
        """Return the skill for a text, and what of the text is left for it.

        A ``skill_id`` names the skill; the text is left whole. Otherwise the first word does,
        in any case, and is taken off. Where it names none, the phrase does that the text equals
        but for case and punctuation, and what stood in its braces is left: of "count to 20", the
        20. A text that is no phrase either goes whole to the default skill.

        Raises:
            UnknownSkill: there is no such skill, or none at all.

        """
        if skill_id is not None:
            skill = self._skills.get(skill_id)
            if skill is None:
                raise UnknownSkill(self.id, skill_id, tuple(self._skills))
            return skill, text
        words = text.split(maxsplit=1)
        named = self._skills.get(words[0].lower()) if words else None
        phrase = self._phrases.find(text)
        if phrase is not None and phrase.skill_id is not None:
            meant = self._skills[phrase.skill_id]
            if named is None or named is meant:
                # A phrase that is all braces hands on what was said, as it was said.
                return meant, text if is_all_of(phrase.rest, text) else phrase.rest
        if named is not None:
            return named, words[1] if len(words) > 1 else ""
        default = self._default or next(iter(self._skills), None)
        if default is None:
            raise UnknownSkill(self.id, "", ())
        return self._skills[default], text

    def __repr__(self) -> str:
        """Name the agent and its skills."""
        return f"<Agent {self.id} {self.version}: {', '.join(self._skills) or 'no skills'}>"
