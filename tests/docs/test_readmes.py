"""The two README files say the same, each in its language."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.docs.documents import ROOT, blocks, headings, links

_ENGLISH = ROOT / "README.md"
_PORTUGUESE = ROOT / "README.pt-BR.md"


def test_they_have_the_same_headings() -> None:
    """The levels of the headings follow each other in the same way."""
    levels = [level for level, _ in headings(_ENGLISH)]
    assert [level for level, _ in headings(_PORTUGUESE)] == levels


def test_they_have_the_same_blocks() -> None:
    """The blocks are the same, but for the words that are said to an agent or by it."""
    english, portuguese = _plain_blocks(_ENGLISH), _plain_blocks(_PORTUGUESE)
    assert portuguese == english


def test_they_have_the_same_tables() -> None:
    """The tables have as many rows and columns."""
    assert _tables(_PORTUGUESE) == _tables(_ENGLISH)


def test_they_have_the_same_links() -> None:
    """The links are the same, each to the page in its language where there is one."""
    other = {"README.md", "README.pt-BR.md"}
    english = [_in_portuguese(link) for link in links(_ENGLISH) if link not in other]
    assert [link for link in links(_PORTUGUESE) if link not in other] == english


def test_make_serve_takes_a_port_and_arguments() -> None:
    """``make serve`` passes on what the text says that it takes."""
    command = ["make", "--dry-run", "serve", "PORT=9000", "ARGS=--store memory:"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "palaver serve --port 9000 --store memory:" in " ".join(done.stdout.split())


def _in_portuguese(link: str) -> str:
    translated = re.sub(r"\.md$", ".pt-BR.md", link)
    return translated if (ROOT / translated).exists() else link


def _plain_blocks(document: Path) -> list[tuple[str, str | None, str]]:
    return [
        (block.language, block.action, _plain(block.language, block.code))
        for block in blocks(document)
    ]


def _plain(language: str, code: str) -> str:
    if not language:  # the tree: what stands behind a name is said in words
        return re.sub(r"  +.*", "", code)
    code = re.sub(r'description="[^"]*"', "description", code)
    return re.sub(r"\b(?:one|two|three|um|dois|três)\b", "word", code)


def _tables(document: Path) -> list[int]:
    text = document.read_text(encoding="utf-8")
    return [line.count("|") for line in text.splitlines() if line.startswith("|")]
