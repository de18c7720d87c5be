"""The ASP specification says what the code does, and the same in both languages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from palaver.protocols.asp import frames, legacy
from palaver.protocols.asp.config import AudioConfig, AudioEncoding, VADConfig, config_digest
from palaver.protocols.asp.errors import ERRORS
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import MESSAGES, Feature, parse_message
from palaver.speech.presets import PRESETS
from tests.docs.asp_parts import OBJECTS, pieces
from tests.docs.asp_portuguese import PORTUGUESE
from tests.docs.asp_traces import FRAMES
from tests.docs.documents import ROOT, Block, blocks, headings

_DOCS: Final = ROOT / "docs"
_ENGLISH: Final = _DOCS / "ASP_SPECIFICATION.md"
_SPECIFICATIONS: Final = (_ENGLISH, _DOCS / "ASP_SPECIFICATION.pt-BR.md")
_BOTH: Final = [
    path for path in sorted(_DOCS.glob("*.md")) if path.with_suffix(".pt-BR.md").exists()
]
_NEGOTIATION: Final = 10
_LEGACY: Final = 20
"""Numbers of sections; the examples of this one are not of ASP."""

each_specification = pytest.mark.parametrize(
    "document", _SPECIFICATIONS, ids=lambda path: path.name
)


# --- examples -------------------------------------------------------------------------------


@each_specification
def test_examples_are_legal(document: Path) -> None:
    """Each message that is shown is one by the JSON Schema of its type, and can be parsed.

    Where negotiation is explained, requests ask for more than they should.
    """
    shown = [(message, section) for message, section in _messages(document) if section != _LEGACY]
    assert len(shown) > len(MESSAGES)
    for message, section in shown:
        allowed = {"enum", "maximum"} if section == _NEGOTIATION else set()
        errors = [
            error.message
            for error in _schema(message["type"]).iter_errors(message)
            if error.validator not in allowed
        ]
        assert not errors, message
        parse_message(json.dumps(message))


@each_specification
def test_every_message_has_a_section_with_an_example(document: Path) -> None:
    """Under a heading with its type, each message has a table and an example of its own."""
    text = document.read_text(encoding="utf-8")
    for kind in MESSAGES:
        section = text.partition(f"\n### {kind}\n")[2].partition("\n### ")[0]
        assert f'"type": "{kind}"' in section, kind
        assert "|---|" in section, kind


@each_specification
def test_legacy_examples_are_what_is_said(document: Path) -> None:
    """The legacy messages that are shown are those that the code makes."""
    shown = [message for message, section in _messages(document) if section == _LEGACY]
    problem = (
        "audio_config.sample_rate: 44100 is not supported; supported: 8000, 16000",
        "UNSUPPORTED_SAMPLE_RATE",
    )
    session = "call-7f3a"
    made = [
        legacy.start(session, "sip-42", AudioConfig()),
        legacy.started(session),
        json.dumps(
            {"type": "error", "session_id": session, "code": problem[1], "message": problem[0]}
        ),
        json.dumps({"type": "audio.end", "session_id": session}),
        legacy.response_start(session, "Good morning."),
        legacy.response_end(session),
        legacy.ended_by_client(session, "hangup"),
    ]
    assert shown == [json.loads(one) for one in made]


@each_specification
def test_binary_examples_are_what_is_sent(document: Path) -> None:
    """Each binary message that is shown is what ``pack`` makes, and ``unpack`` reads."""
    shown = [block.code.strip() for block in blocks(document) if block.language == "hex"]
    assert len(shown) == len(FRAMES)
    for text, ((framing, sender), frame) in zip(shown, FRAMES.items(), strict=True):
        data = bytes.fromhex(text)
        assert data == frames.pack(frame, sender)
        assert frames.unpack(data, sender, numbered=framing == "seq14") == frame


@each_specification
def test_digests_can_be_computed_from_the_page(document: Path) -> None:
    """SHA-256 of each text is the digest below it, which is what the code computes."""
    text = document.read_text(encoding="utf-8")
    vectors = re.findall(r"```text\n(\{\"audio\".*?)\n```\n\n.*?`(sha256:[0-9a-f]{64})`", text)
    assert len(vectors) == 2
    for canonical, digest in vectors:
        assert "sha256:" + sha256(canonical.encode()).hexdigest() == digest
        both = json.loads(canonical)
        for name in ("threshold", "speech_ratio"):
            both["vad"][name] /= 1_000_000
        audio = AudioConfig.model_validate(both["audio"])
        assert config_digest(audio, VADConfig.model_validate(both["vad"])) == digest


# --- tables ---------------------------------------------------------------------------------


@each_specification
def test_nothing_is_left_out(document: Path) -> None:
    """Each error, feature, limit and object is there."""
    text = document.read_text(encoding="utf-8")
    for code in ERRORS:
        assert f"| {int(code)} | `{code.wire_name}` |" in text
    for feature in Feature:
        assert text.count(f"| `{feature}` |") >= 2, feature
    for field in fields(Limits):
        assert f"| `{field.name}` |" in text
    titles = {title for _, title in headings(document)}
    assert set(OBJECTS) <= titles


@each_specification
def test_presets_are_legal(document: Path) -> None:
    """The four presets have the names and values of the code, and need no adjustment."""
    names = ("silence_threshold_ms", "min_speech_ms", "threshold", "speech_ratio")
    head = "| " + " | ".join(f"`{name}`" for name in names) + " |"
    text = document.read_text(encoding="utf-8")
    table = text.partition(head)[2].partition("\n\n")[0]
    rows = re.findall(
        r"^\| `(\w+)`[^|]* \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", table, re.MULTILINE
    )
    found = {
        preset: VADConfig(**dict(zip(names, map(json.loads, values), strict=True)))
        for preset, *values in rows
    }
    assert found == dict(PRESETS)
    assert all(vad.validate() == [] for vad in found.values())


@each_specification
def test_sizes_of_frames_are_those_of_the_code(document: Path) -> None:
    """The table of bytes has each rate, duration and width of a sample."""
    text = document.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) Hz \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) == 4
    for rate, cells in rows:
        sizes = [
            AudioConfig(
                sample_rate=int(rate), encoding=encoding, frame_duration_ms=ms
            ).bytes_per_frame
            for encoding in (AudioEncoding.PCM_S16LE, AudioEncoding.MULAW)
            for ms in (10, 20, 30)
        ]
        assert [int(cell) for cell in cells.split(" | ")] == sizes


@each_specification
def test_the_checklist_is_numbered_through(document: Path) -> None:
    """The rules of conformance are numbered 1, 2, 3 …, so that each can be named."""
    text = document.read_text(encoding="utf-8")
    section = text.partition("\n## 22 ")[2].partition("\n## ")[0]
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", section, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 20


def test_descriptions_are_in_portuguese_too() -> None:
    """``asp_portuguese.py`` has each description of the tables, and no other."""
    said = {text.removesuffix(" (1.1)") for text in pieces()}
    assert set(PORTUGUESE) == said


# --- the guides -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MIGRATION_TO_ASP.md", "MIGRATION_TO_ASP.pt-BR.md"])
def test_a_migration_begins_and_ends_with_legal_messages(name: str) -> None:
    """What is shown as before and after is what a server takes: as legacy, or as ASP."""
    shown = [block.code for block in blocks(_DOCS / name) if block.language == "json"]
    assert len(shown) == 4
    for code in shown:
        message = json.loads(code)
        if "audio_config" in message:
            legacy.read_start(code)
        else:
            assert _schema(message["type"]).is_valid(message)
            parse_message(code)


@pytest.mark.parametrize("name", ["ASP_TROUBLESHOOTING.md", "ASP_TROUBLESHOOTING.pt-BR.md"])
def test_each_error_has_its_cause_and_its_cure(name: str) -> None:
    """Troubleshooting has a heading with each code and its name, and says what to do."""
    text = (_DOCS / name).read_text(encoding="utf-8")
    sections = text.split("\n### ")[1:]
    for code in ERRORS:
        title = f"{int(code)} {code.wire_name}"
        about = [section for section in sections if title in section.partition("\n")[0]]
        assert len(about) == 1, title
        assert "**Cure:**" in about[0] or "**Cura:**" in about[0], title


# --- the two languages ----------------------------------------------------------------------


@pytest.mark.parametrize("english", _BOTH, ids=lambda path: path.name)
def test_they_have_the_same_headings(english: Path) -> None:
    """The levels of the headings follow each other in the same way."""
    both = [headings(document) for document in (english, english.with_suffix(".pt-BR.md"))]
    for one, other in zip_longest(*both):
        assert one is not None, other
        assert other is not None, one
        assert one[0] == other[0], (one, other)


@pytest.mark.parametrize("english", _BOTH, ids=lambda path: path.name)
def test_they_have_the_same_blocks(english: Path) -> None:
    """Examples, commands and programs are the same; comments and diagrams are translated."""
    both = [_plain_blocks(document) for document in (english, english.with_suffix(".pt-BR.md"))]
    assert both[0] == both[1]


@pytest.mark.parametrize("english", _BOTH, ids=lambda path: path.name)
def test_they_have_the_same_tables(english: Path) -> None:
    """The tables have as many rows and columns."""
    both = [_tables(document) for document in (english, english.with_suffix(".pt-BR.md"))]
    assert both[0] == both[1]


# --- reading --------------------------------------------------------------------------------


def _messages(document: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Return the messages that are shown, each with the number of its section."""
    text = document.read_text(encoding="utf-8").splitlines()
    for block in blocks(document):
        if block.language == "json":
            found = json.loads(block.code)
            above = [line for line in text[: block.line] if re.match(r"## \d", line)]
            if "type" in found:
                yield found, int(above[-1].split()[1])


@cache
def _schema(kind: str) -> Draft202012Validator:
    path = ROOT / "schemas" / "asp" / f"{kind}.schema.json"
    return Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))


def _plain_blocks(document: Path) -> list[tuple[str, str | None, str]]:
    return [(block.language, block.action, _plain(block)) for block in blocks(document)]


def _plain(block: Block) -> str:
    if block.language == "mermaid":  # its notes are words
        return re.sub(r"(?<=[:,(]) .*|as .*|(?:opt|loop) .*", "", block.code)
    return re.sub(r"(?<!\S)# .*", "", block.code)


def _tables(document: Path) -> list[int]:
    text = document.read_text(encoding="utf-8")
    return [
        line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("|")
    ]
