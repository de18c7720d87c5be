"""The words of the generated parts of the ASP specification, in both languages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from palaver.protocols.asp.config import Framing
from palaver.protocols.asp.messages import Feature, Side

__all__ = ["FEATURES", "FIXED", "LANGUAGES", "LAYOUTS", "Language"]

_HEADS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "": "",
        "Accepted": "Aceita",
        "Rejected": "Recusada",
        "Sent by": "Enviada por",
        "and": "e",
        "audio": "áudio",
        "byte": "byte",
        "digest": "digest",
        "here": "aqui",
        "array of": "lista de",
        "boolean": "booleano",
        "category": "categoria",
        "characters": "caracteres",
        "client": "cliente",
        "closes with": "fecha com",
        "code": "código",
        "counted": "contada para a retomada",
        "cure": "o que fazer",
        "default": "padrão",
        "feature": "recurso",
        "field": "campo",
        "integer": "inteiro",
        "items": "itens",
        "its defaults": "os seus padrões",
        "limit": "limite",
        "meaning": "significado",
        "members": "membros",
        "message": "mensagem",
        "messages": "mensagens",
        "name": "nome",
        "needs": "exige",
        "no": "não",
        "none": "nenhuma",
        "not counted": "não contada para a retomada",
        "number": "número",
        "object": "objeto",
        "optional": "opcional",
        "range": "faixa",
        "recoverable": "recuperável",
        "required": "obrigatório",
        "sent by": "enviada por",
        "server": "servidor",
        "since": "desde",
        "state": "estado",
        "string": "texto",
        "the same": "o mesmo",
        "then": "depois",
        "type": "tipo",
        "what": "o quê",
        "what it adds": "o que acrescenta",
        "yes": "sim",
    }
)
_ENGLISH: Final[Mapping[str, str]] = MappingProxyType(
    {"counted": "counted for resumption", "not counted": "not counted for resumption"}
)


@dataclass(frozen=True, slots=True)
class Language:
    """One of the two, and the document that is written in it."""

    code: str
    document: str

    def word(self, word: str) -> str:
        """Return a word of the tables."""
        return _ENGLISH.get(word, word) if self.code == "en" else _HEADS[word]

    def words(self, *words: str) -> list[str]:
        """Return several."""
        return [self.word(word) for word in words]

    def sides(self, sides: Iterable[Side]) -> str:
        """Return who sends something."""
        return f" {self.word('and')} ".join(self.word(str(side)) for side in sides)


LANGUAGES: Final = (
    Language("en", "docs/ASP_SPECIFICATION.md"),
    Language("pt", "docs/ASP_SPECIFICATION.pt-BR.md"),
)

FEATURES: Final[Mapping[Feature, str]] = MappingProxyType(
    {
        Feature.AUDIO_OFFERS: "Several audio configurations, in order of preference",
        Feature.CONFIG_DIGEST: "Both sides compare what they run",
        Feature.SPEECH_EVENTS: (
            "Positions in speech events, speech that is discarded, "
            "and the server's own speech events"
        ),
        Feature.RESPONSE_CONTROL: "Answers have ids, and can be stopped by the client",
        Feature.PLAYBACK_MARKS: "The server learns what was heard",
        Feature.SESSION_RESUME: "A session outlives its socket",
        Feature.TURN_OVERRIDES: "Other VAD values for one turn",
        Feature.DTMF: "Keys that the caller presses",
        Feature.CALL_ACTION: "The server transfers or hangs up the call",
        Feature.GO_AWAY: "The server says that it will close the socket",
        Feature.TRANSCRIPTS: "The client learns in words what was said",
    }
)

FIXED: Final = (
    "Characters of a text message (1001)",
    "Frames of a binary message (2004)",
    "Bytes of audio in a binary message of a peer of 1.0.0 (2004)",
    "Messages after which a side acknowledges",
    "Seconds in which one error about audio is told once",
)

_HASH12: Final = (
    (1, "u8", "always `01`"),
    (1, "u8", "direction: `00` to the server, `01` to the client"),
    (8, "8 bytes", "the first 8 bytes of the MD5 of the session id in UTF-8"),
    (2, "u16", "zero; not looked at"),
)
_SEQ14: Final = (
    (2, "u16", "1 to the server, 2 to the client"),
    (4, "u32", "number of the audio message"),
    (8, "u64", "microseconds from the start of the session to the first sample"),
)
_FLAGS: Final = (1, "u8", "flags")
_ASP16: Final = (
    (1, "u8", "always `a5`"),
    (1, "u8", "version 1 in the high half; 1 to the server, 2 to the client in the low half"),
    (2, "u16", "`stream` of `session.started`"),
    (4, "u32", "number of the audio message"),
    (4, "u32", "media time of the first sample, in samples"),
    _FLAGS,
    (1, "u8", "zero; not looked at"),
    (2, "u16", "to the client: `generation` of the answer; to the server: zero"),
)
LAYOUTS: Final[Mapping[tuple[Framing, Side], tuple[tuple[int, str, str], ...]]] = MappingProxyType(
    {
        (Framing.HASH12, Side.CLIENT): _HASH12,
        (Framing.HASH12, Side.SERVER): _HASH12,
        (Framing.SEQ14, Side.CLIENT): _SEQ14,
        (Framing.SEQ14, Side.SERVER): (*_SEQ14, _FLAGS),
        (Framing.ASP16, Side.CLIENT): _ASP16,
        (Framing.ASP16, Side.SERVER): _ASP16,
    }
)
"""Framing and sender → size, type and meaning of each field of the header."""
