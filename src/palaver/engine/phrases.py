"""How people say what an agent does: phrases by language, and which of them a text equals.

Phrases serve every wire. A typed "What time is it?" finds its skill by them, and an engine that
hears speech may take them for its vocabulary.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from palaver.errors import AgentError

__all__ = ["Phrase", "Phrases", "is_all_of"]

_MAX_PHRASES: Final = 2_000
_MAX_LENGTH: Final = 200
_MAX_TEXT: Final = 4 * _MAX_LENGTH
"""Longer texts equal no phrase, whatever punctuation they hold; they are not even looked at."""

_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_ASCII_GAPS: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Phrase:
    """One thing that people say, written out.

    ``language`` is a BCP 47 tag. ``skill_id`` is the skill that it is for, or ``None`` for what
    only answers questions. ``rest`` is what stood in its braces, joined by spaces: all that the
    skill needs to know of it.
    """

    text: str
    language: str
    skill_id: str | None
    rest: str = ""


class Phrases:
    """The phrases of one agent, at most 2,000, each of at most 200 characters."""

    __slots__ = ("_all", "_by_words", "_owner")

    def __init__(self, owner: str) -> None:
        """``owner`` is the id of the agent, for errors."""
        self._owner = owner
        self._all: dict[Phrase, None] = {}
        self._by_words: dict[str, Phrase] = {}

    @property
    def all(self) -> tuple[Phrase, ...]:
        """Every phrase, written out, in the order in which they were declared."""
        return tuple(self._all)

    def add(self, patterns: Mapping[str, Iterable[str]], skill_id: str | None) -> None:
        """Declare how people say it, by language; on an error, none of ``patterns`` counts.

        A pattern may hold alternatives in braces: ``count to {5|10|20}``.

        Raises:
            AgentError: a pattern is empty, too long or has braces that do not match, the
                language is no tag, there are too many, or a phrase means two things.

        """
        everything = dict(self._all)
        by_words = dict(self._by_words)
        count = len(everything)
        for language, some in patterns.items():
            if _LANGUAGE.fullmatch(language) is None:
                raise self._error(f"language {language!r} must be a tag such as 'en' or 'pt-BR'")
            if isinstance(some, str):
                raise self._error(f"phrases must be a sequence of texts, not the text {some!r}")
            for phrase in self._all_written_out(some, language, skill_id):
                count += 1  # repetitions, too: else they could be written out without an end
                if count > _MAX_PHRASES:
                    raise self._error(f"more than {_MAX_PHRASES} phrases, alternatives written out")
                everything[phrase] = None
                self._enter(phrase, by_words)
        self._all, self._by_words = everything, by_words

    def find(self, text: str) -> Phrase | None:
        """Return the phrase that ``text`` equals, but for case, punctuation and extra spaces.

        The same words in two languages count for the language that was declared first.
        """
        if not self._by_words or len(text) > _MAX_TEXT:
            return None
        return self._by_words.get(_words(text))

    def _enter(self, phrase: Phrase, by_words: dict[str, Phrase]) -> None:
        words = _words(phrase.text)
        if not words:
            raise self._error(f"phrase {phrase.text!r} has no words")
        known = by_words.get(words)
        if known is None or (known.skill_id is None and phrase.skill_id is not None):
            by_words[words] = phrase
        elif phrase.skill_id is not None and (
            phrase.skill_id != known.skill_id or _words(phrase.rest) != _words(known.rest)
        ):
            raise self._error(
                f"phrase {phrase.text!r} means two things: {_meaning(known)} and {_meaning(phrase)}"
            )

    def _all_written_out(
        self, patterns: Iterable[str], language: str, skill_id: str | None
    ) -> Iterator[Phrase]:
        for pattern in patterns:
            yield from self._written_out(pattern, language, skill_id)

    def _written_out(self, pattern: str, language: str, skill_id: str | None) -> Iterator[Phrase]:
        pieces = _BRACES.split(pattern)  # what stands outside and inside of braces, by turns
        if any("{" in piece or "}" in piece for piece in pieces):
            raise self._error(f"phrase {pattern!r} has braces that do not match")
        inside = [piece.split("|") for piece in pieces[1::2]]
        for chosen in itertools.product(*inside):
            if not all(alternative.strip() for alternative in chosen):
                raise self._error(f"phrase {pattern!r} has an empty alternative")
            mixed = itertools.zip_longest(pieces[::2], chosen, fillvalue="")
            text = " ".join("".join(itertools.chain.from_iterable(mixed)).split())
            if not text:
                raise self._error("a phrase must not be empty")
            if len(text) > _MAX_LENGTH:
                raise self._error(f"phrase {text[:40]!r}… is over {_MAX_LENGTH} characters")
            yield Phrase(text, language, skill_id, " ".join(" ".join(chosen).split()))

    def _error(self, text: str) -> AgentError:
        return AgentError(f"agent {self._owner!r}: {text}")


def is_all_of(rest: str, text: str) -> bool:
    """Return whether ``rest`` says all that ``text`` does."""
    return _words(rest) == _words(text)


def _meaning(phrase: Phrase) -> str:
    return f"{phrase.skill_id} {phrase.rest}".rstrip()


def _words(text: str) -> str:
    """Return the words of ``text`` in one case, one space between two of them."""
    folded = unicodedata.normalize("NFC", text.casefold())
    if folded.isascii():
        return _ASCII_GAPS.sub(" ", folded).strip()
    # Letters, digits and the marks that belong to letters in many scripts.
    kept = (char if unicodedata.category(char)[0] in "LMN" else " " for char in folded)
    return " ".join("".join(kept).split())
