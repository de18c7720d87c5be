"""What the documents repeat from the code is what the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson
import pytest

from palaver.cli.exits import Exit
from palaver.protocols.a2a import errors
from palaver.protocols.a2a.errors import A2aError
from tests.docs.documents import ROOT
from tests.docs.generated import PARTS, SCHEMAS, renewed

_HINT: Final = "run: python -m tests.docs.generated"
_SOURCES: Final = sorted((ROOT / "src").rglob("*.py"))
_LOGGED: Final = re.compile(r"_log\.\w+\(\s*\"(\w+)\"")
_TELLING: Final = 10
"""Characters from which on a piece of text belongs to one message."""
_LONG: Final = 30


@pytest.mark.parametrize("name", PARTS)
def test_generated_parts_are_as_the_code_says(name: str) -> None:
    """Settings, states and methods stand in the documents as they stand in the code."""
    _, text, new = renewed(name)
    assert text == new, _HINT


@pytest.mark.parametrize("where", SCHEMAS)
def test_schemas_are_those_of_the_messages(where: str) -> None:
    """The JSON Schemas are those of the messages that the code parses."""
    assert (ROOT / where).read_bytes() == SCHEMAS[where], _HINT


@pytest.mark.parametrize("where", SCHEMAS)
def test_references_in_schemas_lead_somewhere(where: str) -> None:
    """Each ``$ref`` of a schema names one of its definitions."""
    schema = orjson.loads(SCHEMAS[where])
    named = set(re.findall(r'"#/\$defs/([^"]+)"', SCHEMAS[where].decode()))
    assert named <= set(schema["$defs"])


def test_the_table_of_errors_has_them_all() -> None:
    """Each A2A error is in the table of errors, with its code, its reason and its text."""
    rows = re.findall(r"^\| (-32\d{3}) \| (.+?) \| (.+?) \|", _read("docs/a2a.md"), re.MULTILINE)
    known = [
        (str(kind.code), kind.text, "none" if kind.reason is None else f"`{kind.reason}`")
        for kind in _errors()
    ]
    assert sorted(rows) == sorted(known)


def test_the_table_of_exit_codes_has_them_all() -> None:
    """Each exit code of the command line is in the table of exit codes."""
    rows = re.findall(r"^\| (\d+) \| ", _read("docs/operations.md"), re.MULTILINE)
    assert [int(code) for code in rows] == [code.value for code in Exit]


def _read(where: str) -> str:
    return (ROOT / where).read_text(encoding="utf-8")


_ONLY_A_CLIENT_LOGS = {"asp_request_timed_out"}


def test_the_table_of_log_events_has_them_all() -> None:
    """Each event that a server logs is in the table of logs, and no other is."""
    sources = [path for path in _SOURCES if "client" not in path.parts]
    logged = {
        name for path in sources for name in _LOGGED.findall(path.read_text(encoding="utf-8"))
    }
    shared = (ROOT / "src/palaver/protocols/asp/report.py").read_text(encoding="utf-8")
    logged |= set(re.findall(r'"(asp_\w+)"', shared)) - _ONLY_A_CLIENT_LOGS
    table = _read("docs/operations.md").partition("| event | level |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == logged


def test_the_messages_in_troubleshooting_are_those_of_the_code() -> None:
    """Each message that troubleshooting explains stands in the code, word for word."""
    pieces = {
        piece.strip()[:_LONG]  # a long message may be cut short with …
        for path in _SOURCES
        for piece in _strings(path)
        if len(piece.strip()) >= _TELLING
    }
    pieces -= {kind.text[:_LONG] for kind in _errors()}  # they begin many messages
    text = _read("docs/troubleshooting.md")
    messages = re.findall(r"^\*\*`([^`]+)`\*\*", text, re.MULTILINE)
    assert len(messages) > 20
    for message in messages:
        said = " ".join(message.split())
        assert any(piece in said for piece in pieces), message


def _errors() -> list[type[A2aError]]:
    kinds = [getattr(errors, name) for name in errors.__all__]
    return [
        kind
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, A2aError) and kind is not A2aError
    ]


def _strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
