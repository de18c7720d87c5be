"""What was asked for and stands in documents, schemas and settings of the project."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import orjson

from palaver.protocols.asp.config import AudioEncoding, Framing
from palaver.protocols.asp.errors import ErrorCategory
from tests.spec.rules import TESTS

ROOT = TESTS.parent
SPECIFICATION = ROOT / "docs" / "ASP_SPECIFICATION.md"
CORE = ROOT / "src" / "palaver" / "protocols" / "asp"


def section(heading: str) -> str:
    """Return the text of a section of the specification, by the end of its heading."""
    text = SPECIFICATION.read_text(encoding="utf-8")
    match = re.search(
        rf"^## \d+ {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert match is not None, heading
    return match[1]


def test_the_specification_has_its_diagrams() -> None:
    """The states of both sides' sessions and of the socket are drawn; so is a whole session."""
    assert section("States").count("stateDiagram") == 3
    assert "sequenceDiagram" in section("A session from end to end")


def test_the_specification_says_how_versions_change() -> None:
    """What is patch, minor and major, how peers of two versions go together, how things go."""
    text = section("Versions and features")
    for words in (
        "Semantic Versioning",
        "| patch or minor |",
        "| minor |",
        "| major |",
        "| 1.0.0 |",
        "1004",
        "two minor versions",
    ):
        assert words in text


def enums(schema: Any) -> list[list[Any]]:
    """Return every enumeration of a schema."""
    if isinstance(schema, list):
        return [found for item in schema for found in enums(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema["enum"]] if isinstance(schema.get("enum"), list) else []
    return own + [found for item in schema.values() for found in enums(item)]


def test_fixed_values_are_enums_of_the_schema() -> None:
    """Encodings, framings, rates, durations and outcomes are enumerated in the JSON Schema."""
    path = ROOT / "schemas" / "asp_protocol.schema.json"
    found = enums(orjson.loads(path.read_bytes()))
    for values in (
        [str(one) for one in AudioEncoding],
        [str(one) for one in Framing],
        [8_000, 16_000, 24_000, 48_000],
        [10, 20, 30],
        ["accepted", "accepted_with_changes", "rejected"],
    ):
        assert values in found
    assert len(ErrorCategory) == 4


def test_public_classes_have_docstrings() -> None:
    """Every public class of the protocol says what it is, and so does every public method."""
    silent = []
    for path in sorted(CORE.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                parts = [node, *(one for one in node.body if isinstance(one, ast.FunctionDef))]
                silent += [
                    f"{path.name}: {node.name}.{one.name}"
                    for one in parts
                    if not one.name.startswith("_") and ast.get_docstring(one) is None
                ]
    assert silent == []


def test_the_workshop_holds_all_of_the_protocol() -> None:
    """``make test`` fails where one line or branch of the protocol is not run by a test."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^PURE := .*src/palaver/protocols/\*", makefile, re.MULTILINE)
    assert re.search(r"--include='\$\(PURE\)' --fail-under=100", makefile)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["coverage"]["run"]["branch"] is True
    assert len(list(Path(TESTS / "protocols" / "asp").glob("test_*.py"))) > 20
