"""Streamed text becomes sentences, each as soon as it is certain where it ends.

A decision needs the characters that follow only as far as they could change it, so how the text
was cut into pieces changes nothing of the sentences. English and Portuguese.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from palaver.speech.speakable import Speakable, speakable

__all__ = ["Sentences", "speakable"]

_SPACES: Final = re.compile(r"[^\S\n]+")
_GAP: Final = re.compile(r"\s+")
_CANDIDATES: Final = re.compile(r"[.!?…:;,\n]")
_CLOSING: Final = re.compile("[.!?…]{1,8}[\"'\u201d\u2019»)\\]}]{0,8}")
_LOOKAHEAD: Final = 32
"""More than 8 marks, 8 closing ones, a space and a letter."""
_OPENERS: Final = "\"'\u201c\u2018«([{¿¡-\u2013\u2014"
_DOTTED: Final = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_CLAUSE: Final = re.compile("[,;:\u2013\u2014](?= )")

_TITLES: Final = """
mr mrs ms mx dr dra drs prof profa profª st ste sr sra srta srs sras gen col capt lt sgt rev hon
pres gov sen rep d eng engº enga arq adv exmo exma ilmo v vs cf av pç trav mt
"""
_COUNTED: Final = """
no nos nº n.º núm num nr art arts fig figs pág págs pag pags pg pp cap caps vol vols ed seç eq ch
tel
"""
_SHORTENED: Final = """
etc approx aprox dept depto est inc ltd ltda corp co cia jr ft jan feb fev mar apr abr jun jul aug
ago sep sept set oct out nov dec dez mon tue tues wed thu thur thurs fri sat sun seg ter qua qui
sex sáb min mins segs sec secs hr hrs max máx mín ex obs a.m p.m d.c a.c s.a u.s u.k e.u.a
"""
_NEVER_LAST: Final = frozenset(_TITLES.split())
"""Abbreviations that something follows."""
_BEFORE_NUMBERS: Final = frozenset(_COUNTED.split())
"""Abbreviations, or words, that a number follows where they are no end."""
_SOMETIMES_LAST: Final = frozenset(_SHORTENED.split())
"""Abbreviations, or words, that end a sentence where a capital follows."""


class Sentences:
    """Cuts a text that comes in pieces into what can be spoken at once.

    No sentence is over ``max_characters``; only a word that is longer is cut. A semicolon ends a
    sentence from ``long_characters`` on. With ``first_clause_characters`` the first one may end
    at a comma after so many, so that the voice begins early. Line breaks end sentences, and marks
    of markdown are left out.

    Raises:
        ValueError: ``max_characters`` is below 20.

    """

    def __init__(
        self,
        max_characters: int = 240,
        long_characters: int = 120,
        first_clause_characters: int | None = None,
    ) -> None:
        if max_characters < 20:
            raise ValueError(f"sentences of {max_characters} characters are too short: 20 or more")
        self._max: Final = max_characters
        self._long: Final = long_characters
        self._first_clause = first_clause_characters
        self._speakable = Speakable()
        self._text = ""

    def push(self, piece: str) -> list[str]:
        """Take more of the text; return the sentences that are certain now."""
        return self._cut(self._speakable.push(piece), final=False)

    def flush(self) -> list[str]:
        """Return what is left: the text is over, or pauses for so long that it must be said."""
        return self._cut(self._speakable.flush(), final=True)

    def words(self) -> list[str]:
        """Return the whole words so far, though no sentence ends there: to fill a silence."""
        words, space, rest = self._text.rpartition(" ")
        self._text = space + rest
        self._first_clause = None
        spoken = " ".join(words.split())
        return [spoken] if _has_sound(spoken) else []

    def _cut(self, text: str, *, final: bool) -> list[str]:
        text = _SPACES.sub(" ", self._text + text)
        at, sentences = 0, []
        while True:
            if gap := _GAP.match(text, at):
                at = gap.end()
            window = text[at : at + self._max + _LOOKAHEAD]
            last = final and at + len(window) == len(text)
            end = self._next_end(window, final=last) if window else None
            if end is None:
                break
            sentence = " ".join(window[:end].split())
            at += end
            if _has_sound(sentence):
                sentences.append(sentence)
                self._first_clause = None
        self._text = text[at:]
        return sentences

    def _next_end(self, text: str, *, final: bool) -> int | None:
        """Return where the first sentence ends; ``None`` where that is not certain yet."""
        for candidate in _CANDIDATES.finditer(text, 0, self._max):
            end = self._end_at(text, candidate.start(), final=final)
            if end is None:
                return None
            if 0 < end <= self._max:
                return end
        if len(text) > self._max:
            return self._forced_end(text)
        return len(text) if final else None

    def _end_at(self, text: str, at: int, *, final: bool) -> int | None:
        """Return the end of the sentence that the mark there ends; 0 if it ends none.

        ``None``: more of the text must be known.
        """
        mark, end = text[at], at + 1
        if mark == "\n":
            return end
        if mark in ":;,":
            if not self._divides(mark, at):
                return 0
        elif closing := _CLOSING.match(text, at):
            end = closing.end()
        if end < len(text) and not text[end].isspace():
            return 0
        needed = "" if mark in ":;," else _needed(text, at, end)
        follows = text[end:].lstrip(" ")[:1]
        if not final and (end == len(text) or (needed and not follows)):
            return None
        return end if _fits(needed, follows) else 0

    def _divides(self, mark: str, at: int) -> bool:
        clause = self._first_clause is not None and at >= self._first_clause
        return mark == ":" or clause or (mark == ";" and at >= self._long)

    def _forced_end(self, text: str) -> int:
        """Return where a very long run is cut: at a comma in its last two thirds, or a space."""
        text = text[: self._max + 1]
        clauses = [clause.end() for clause in _CLAUSE.finditer(text)]
        if clauses and clauses[-1] > self._max // 3:
            return clauses[-1]
        space = text.rfind(" ")
        return space if space > 0 else self._max


def _needed(text: str, at: int, end: int) -> str:
    """Return what must follow so that the mark ends a sentence; empty: it does."""
    if end > at + 1 and text[end - 1] not in ".!?…":
        return "no small letter"  # "Why?" she asked
    if text[at:end] != ".":
        return ""
    word = text[:at].rpartition(" ")[2].lstrip(_OPENERS).lower()
    number = text[:at].isdigit()  # 1. First
    initial = len(word) == 1 and word.isalpha()
    if number or initial or word in _NEVER_LAST or text.endswith("p. ex", 0, at):
        return "line break"
    if word in _BEFORE_NUMBERS:
        return "no number"
    if word in _SOMETIMES_LAST:
        return "capital"
    return "line break" if _DOTTED.fullmatch(word) else ""


def _fits(needed: str, follows: str) -> bool:
    if not follows or follows == "\n":
        return True
    if needed == "no small letter":
        return not follows.islower()
    if needed == "no number":
        return not follows.isdigit()
    if needed == "capital":
        return not (follows.islower() or follows.isdigit())
    return needed == ""


def _has_sound(sentence: str) -> bool:
    """Tell whether there is more than punctuation."""
    return any(unicodedata.category(character)[0] not in "PZC" for character in sentence)
