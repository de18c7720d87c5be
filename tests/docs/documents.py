"""Reading Markdown: the blocks of a document, its headings, its links.

A comment right before a block says what a test does with it::

    <!-- test: skip, REASON -->     it is not run
    <!-- test: file NAME -->        it is written to a file of that name
    <!-- test: serve -->            it starts a server, which later blocks reach
    <!-- test: exit N -->           it is run, and has to end with that code
    <!-- test: output -->           it is what the block before has put out; … stands for anything

Without a comment, ``sh``, ``console`` and ``python`` blocks are run, and others are only read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ALL", "ROOT", "RUN", "Block", "anchors", "blocks", "headings", "links"]

ROOT: Final = Path(__file__).resolve().parents[2]
RUN: Final = (
    ROOT / "README.md",
    ROOT / "README.pt-BR.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
"""The documents whose commands and programs are run."""
ALL: Final = (
    *RUN,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs" / "decisions").glob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
)

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DIRECTIVE: Final = re.compile(r"<!-- test: (\w+),? ?((?:(?!-->).)*?) -->\n\Z", re.DOTALL)
_LINK: Final = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_KNOWN: Final = {"skip", "file", "serve", "exit", "output"}
_RUNNABLE: Final = {"sh", "console", "python"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it stands, what it holds, and what a test does with it."""

    line: int
    language: str
    code: str
    action: str | None
    argument: str

    @property
    def runs(self) -> bool:
        """Whether it is run as a command or a program."""
        if self.action is None:
            return self.language in _RUNNABLE
        return self.action == "exit"


def blocks(document: Path) -> list[Block]:
    """Return the blocks of ``document`` in order."""
    text = document.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        directive = _DIRECTIVE.search(before)
        action, argument = (None, "") if directive is None else directive.groups()
        line = before.count("\n") + 1
        where = f"{document.name}:{line}"
        assert action is None or action in _KNOWN, f"{where}: {action} is no directive"
        assert action != "skip" or argument, f"{where}: a block is skipped for a reason"
        found.append(Block(line, match[1], match[2], action, argument.strip()))
    return found


def prose(document: Path) -> str:
    """Return the text of ``document`` without its blocks."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def links(document: Path) -> list[str]:
    """Return the targets of the links of ``document``."""
    return _LINK.findall(prose(document))


def headings(document: Path) -> list[tuple[int, str]]:
    """Return level and text of the headings of ``document``."""
    return [(len(marks), text) for marks, text in _HEADING.findall(prose(document))]


def anchors(document: Path) -> set[str]:
    """Return the anchors that a reader of ``document`` on the web can jump to."""
    return {
        re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for _, text in headings(document)
    }
