"""Text that was written to be seen becomes text that can be spoken: markdown and emoji go.

Emphasis, headings, bullets, quotes, rules, fences of code, pipes of tables, a few HTML tags and
the targets of links are taken away; what they mark stays, and numbers stay as they are. The text
may come in pieces: a piece waits only until it is known what its last characters are, and how the
text was cut changes nothing of the result.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Speakable", "speakable"]

_MARKS: Final = r"\\*_~`\[!<|"
_EMOJI: Final = (
    r"\u200d\u20e3\u231a-\u23ff\u2600-\u27bf\u2b00-\u2bff\ufe0e\ufe0f"
    r"\U0001f000-\U0001faff\U000e0020-\U000e007f"
)
"""Pictures, what joins and varies them; not the arrows, ``©``, ``°`` and the like."""
_PLAIN: Final = re.compile(rf"[^\n{_MARKS}{_EMOJI}]+")
_PICTURES: Final = re.compile(rf"[{_EMOJI}]+")
_ASTERISKS: Final = re.compile(r"\*{1,64}")
_UNDERSCORES: Final = re.compile(r"_{1,64}")
_TILDES: Final = re.compile(r"~{1,64}")
_SIMPLE: Final = {"\n": "\n", "|": " ", "`": ""}
_ESCAPABLE: Final = frozenset(r"""!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~""")

_OPENING: Final = re.compile(r"[ \t>#*+\-_=~`•]{0,128}")
_RULE: Final = re.compile(r"[ \t]*(?:-[ \t]*){3,}|[ \t]*(?:\*[ \t]*){3,}|[ \t]*(?:[_=][ \t]*){3,}")
_LEAD: Final = re.compile(r"[ \t]*(?:>|(?:#{1,6}|[-*+•])(?=[ \t]|$))")
_FENCE: Final = re.compile(r"[ \t]*(?:`{3,}|~{3,})")
_FENCE_INFO: Final = re.compile(r"[\w+#.\-]{0,32}[ \t]{0,8}\r?")

_TAG: Final = re.compile(
    r"</?(?:br|b|i|u|s|p|em|hr|li|ul|ol|div|sub|sup|code|span|strong) ?/?>", re.IGNORECASE
)
_TAG_BEGUN: Final = re.compile(r"</?[a-z]{0,6} ?/?", re.IGNORECASE)
_MAX_LINK_TEXT: Final = 300
_MAX_LINK_TARGET: Final = 2048
_LINK_STOPS: Final = re.compile(r"[\[\]\n]")
_TARGET: Final = re.compile(
    r"\([^\S\n]{0,4}(?:[^\s()]|\([^\s()]*\))*"
    r"(?:[^\S\n]{1,4}(?:\"[^\"\n]*\"|'[^'\n]*'))?[^\S\n]{0,4}\)"
)
_TARGET_BEGUN: Final = re.compile(
    r"\([^\S\n]{0,4}(?:[^\s()]|\([^\s()]*\))*"
    r"(?:\([^\s()]*|[^\S\n]{1,4}(?:\"[^\"\n]*\"?|'[^'\n]*'?)?[^\S\n]{0,4})?"
)
"""The same as far as it goes."""


class _Found(NamedTuple):
    """What stands at a place: where it ends, and what of it is spoken."""

    end: int
    text: str


class Speakable:
    """Takes the marks out of a text that comes in pieces."""

    def __init__(self) -> None:
        self._raw = ""
        self._line_begins = True
        self._previous = "\n"

    def push(self, piece: str) -> str:
        """Return what of the text so far is known to be spoken, and was not returned before."""
        self._raw += piece
        return self._drain(final=False)

    def flush(self) -> str:
        """Return the rest, and begin anew."""
        rest = self._drain(final=True)
        self._line_begins, self._previous = True, "\n"
        return rest

    def _drain(self, *, final: bool) -> str:
        spoken = []
        at = 0
        while at < len(self._raw):
            found = (
                self._open_line(at, final=final)
                if self._line_begins
                else self._inline(at, final=final)
            )
            if found is None:
                break
            if found.end > at:
                self._previous = self._raw[found.end - 1]
            self._line_begins = not self._line_begins and self._previous == "\n"
            spoken.append(found.text)
            at = found.end
        self._raw = self._raw[at:]
        return "".join(spoken)

    # --- the beginning of a line ------------------------------------------------------------

    def _open_line(self, at: int, *, final: bool) -> _Found | None:
        raw = self._raw
        end = _past(_OPENING, raw, at)
        if end == len(raw) and not final:
            return None
        marks = raw[at:end]
        if _RULE.fullmatch(marks) and (end == len(raw) or raw[end] in "\r\n"):
            return _Found(end, "")
        taken = 0
        while lead := _LEAD.match(marks, taken):
            if lead.end() == len(marks) and lead[0][-1] != ">" and raw[end : end + 1].strip():
                break  # "-5", "#1": no mark, but a part of the word
            taken = lead.end()
        fence = _FENCE.match(marks, taken)
        if fence is None:
            return _Found(at + taken, "")
        info_end = _past(_FENCE_INFO, raw, at + fence.end())
        if info_end == len(raw) and not final:
            return None
        whole = info_end == len(raw) or raw[info_end] == "\n"
        return _Found(info_end if whole else at + fence.end(), "")

    # --- within a line ----------------------------------------------------------------------

    def _inline(self, at: int, *, final: bool) -> _Found | None:
        raw = self._raw
        if plain := _PLAIN.match(raw, at):
            return _Found(plain.end(), plain[0])
        if pictures := _PICTURES.match(raw, at):
            return _Found(pictures.end(), "")
        mark = raw[at]
        if mark in _SIMPLE:
            return _Found(at + 1, _SIMPLE[mark])
        if mark in "*_~":
            return self._emphasis(at, final=final)
        if mark == "<":
            return self._tag(at, final=final)
        return self._link(at, final=final) if mark == "[" else self._prefix(at, final=final)

    def _prefix(self, at: int, *, final: bool) -> _Found | None:
        """Find what a backslash or an exclamation mark is, by the character after it."""
        raw, literal = self._raw, _Found(at + 1, self._raw[at])
        if at + 1 == len(raw):
            return literal if final else None
        if raw[at] == "\\":
            return _Found(at + 2, raw[at + 1]) if raw[at + 1] in _ESCAPABLE else literal
        image = self._link(at + 1, final=final) if raw[at + 1] == "[" else literal
        return literal if image is not None and image.text == "[" else image

    def _emphasis(self, at: int, *, final: bool) -> _Found | None:
        raw, mark = self._raw, self._raw[at]
        end = _past({"*": _ASTERISKS, "_": _UNDERSCORES, "~": _TILDES}[mark], raw, at)
        if end == len(raw) and not final:
            return None
        before, after = self._previous, raw[end : end + 1] or "\n"
        marks = raw[at:end]
        if mark == "~":
            kept = len(marks) == 1
        elif mark == "_":
            kept = before.isalnum() and after.isalnum()  # snake_case
        elif len(marks) == 1:
            apart = before.isspace() and after.isspace()
            kept = apart or (before.isalnum() and after.isalnum())  # 3 * 4, 3*4
        else:
            kept = before.isdigit() and after.isdigit()
        return _Found(end, marks if kept else "")

    def _tag(self, at: int, *, final: bool) -> _Found | None:
        if tag := _TAG.match(self._raw, at):
            return _Found(tag.end(), " ")
        begun = _TAG_BEGUN.match(self._raw, at)
        if begun is not None and begun.end() == len(self._raw) and not final:
            return None
        return _Found(at + 1, "<")

    def _link(self, at: int, *, final: bool) -> _Found | None:
        """Find ``[text](target)``; a bracket that begins no link is spoken as it is."""
        raw = self._raw
        bracket = _Found(at + 1, "[")
        stop = _LINK_STOPS.search(raw, at + 1, at + 1 + _MAX_LINK_TEXT)
        if stop is None:
            return bracket if final or len(raw) - at > _MAX_LINK_TEXT else None
        opening = stop.end()
        if stop[0] != "]":
            return bracket
        if opening == len(raw):
            return bracket if final else None
        if raw[opening] != "(":
            return bracket
        target = _TARGET.match(raw, opening, opening + _MAX_LINK_TARGET)
        if target is not None:
            return _Found(target.end(), _spoken_inline(raw[at + 1 : stop.start()]))
        begun = _TARGET_BEGUN.fullmatch(raw, opening, opening + _MAX_LINK_TARGET)
        waits = begun is not None and len(raw) - opening < _MAX_LINK_TARGET and not final
        return None if waits else bracket


def _past(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _spoken_inline(text: str) -> str:
    inner = Speakable()
    inner.push("\u200d")  # nothing, but no beginning of a line any more
    return inner.push(text) + inner.flush()


def speakable(text: str) -> str:
    """Return the text without its marks, each line with single spaces."""
    whole = Speakable()
    lines = (whole.push(text) + whole.flush()).split("\n")
    return "\n".join(" ".join(line.split()) for line in lines).strip()
