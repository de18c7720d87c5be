"""Tells "uh-huh" from "stop": a filter for what a caller says while the agent speaks.

English and Brazilian Portuguese. Without words only the length can speak: a grunt is a listener's,
what is longer depends on its words. An utterance is a backchannel where all of it is made of
listeners' words; a question mark makes it a question, whatever its words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from palaver.speech.turns import Interruption

__all__ = ["ENGLISH", "PORTUGUESE", "Backchannels"]

ENGLISH: Final = frozenset(
    {
        *("ah", "aha", "hm", "hmm", "huh", "mhm", "mm", "mmhm", "mm hmm", "mm-hmm", "oh", "uh"),
        *("uh huh", "uh-huh", "um", "wow", "yeah", "yep", "yes", "yup", "ok", "okay", "right"),
        *("sure", "cool", "fine", "great", "good", "nice", "perfect", "exactly", "indeed", "true"),
        *("of course", "all right", "alright", "i see", "got it", "sounds good", "makes sense"),
        *("go on", "i know", "i understand", "understood", "that's right", "very good"),
    }
)
"""What a listener says in English; lower case."""
PORTUGUESE: Final = frozenset(
    {
        *("ah", "aham", "ahã", "ã-hã", "hã", "hum", "humrum", "uhum", "uhum uhum", "hm", "oh"),
        *("sim", "é", "é mesmo", "tá", "tá bom", "tá certo", "está bem", "está bom", "tudo bem"),
        *("certo", "claro", "ok", "okay", "beleza", "legal", "ótimo", "bom", "bem", "isso"),
        *("isso mesmo", "exato", "exatamente", "entendi", "entendo", "sei", "pois é", "pode ser"),
        *("com certeza", "verdade", "perfeito", "combinado", "aí sim", "pronto", "nossa"),
    }
)
"""What a listener says in Brazilian Portuguese; lower case."""

_WORD: Final = re.compile(r"[^\W_]+")


class Backchannels:
    """A filter for ``TurnMachine``: call it with an ``Interruption``.

    Up to ``max_grunt_ms``, what has no words yet is a backchannel; 0 asks for the words of all.
    ``max_words`` bounds how much a listener says. ``phrases`` are one or more words each; case,
    accents and punctuation do not matter.
    """

    def __init__(
        self,
        phrases: Iterable[str] = ENGLISH | PORTUGUESE,
        max_grunt_ms: int = 0,
        max_words: int = 4,
    ) -> None:
        self._phrases: Final = frozenset(_words(phrase) for phrase in phrases) - {()}
        self._longest: Final = max(map(len, self._phrases), default=0)
        self._max_grunt_ms: Final = max_grunt_ms
        self._max_words: Final = max_words

    def __call__(self, interruption: Interruption) -> bool | None:
        """Tell whether it is a backchannel; ``None``: its words will tell.

        What was heard and not understood interrupts nothing: an empty text is a backchannel.
        """
        text = interruption.text
        if text is None:
            return True if interruption.duration_ms <= self._max_grunt_ms else None
        words = _words(text)
        if "?" in text or len(words) > self._max_words:
            return False
        return self._made_of_phrases(words)

    def _made_of_phrases(self, words: tuple[str, ...]) -> bool:
        reached = {0}
        for end in range(1, len(words) + 1):
            starts = range(max(0, end - self._longest), end)
            if any(start in reached and words[start:end] in self._phrases for start in starts):
                reached.add(end)
        return len(words) in reached


def _words(text: str) -> tuple[str, ...]:
    """Return the words in lower case, without accents: recognisers differ in those."""
    apart = unicodedata.normalize("NFD", text.lower().replace("'", "").replace("\u2019", ""))
    plain = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return tuple(_WORD.findall(plain))
