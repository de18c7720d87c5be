"""Logs: one line an event, in either style, and no secret in any of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.observability.logging import _as_json, configure_logging, redact


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as it was."""
    before, handlers, level = structlog.get_config(), logging.root.handlers[:], logging.root.level
    yield
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """In JSON an event is one line with its level, its time and its traceback."""
    configure_logging("info", "json")
    log = structlog.get_logger("test")
    log.debug("unheard")
    log.info("met", task_id="t", api_key="k", more={"Token": "x", 1: [{"password": "y"}], "n": 2})
    try:
        int("two\nlines")
    except ValueError:
        log.exception("broke")
    met, broke = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert met.pop("timestamp").endswith("Z")
    assert met == {
        "event": "met",
        "level": "info",
        "task_id": "t",
        "api_key": "***",
        "more": {"Token": "***", "1": [{"password": "***"}], "n": 2},
    }
    assert "ValueError: invalid literal for int() with base 10: " in broke["exception"]


def test_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    """For people the same, without colours where nobody sees them, and without local variables."""
    configure_logging("warning", "console")
    log = structlog.get_logger("test")
    log.info("unheard")
    hidden = "do-not-show"
    try:
        int(hidden[:2])
    except ValueError:
        log.exception("broke", authorization="Bearer x")
    said = capsys.readouterr().err
    assert "unheard" not in said
    assert "broke" in said
    assert "authorization=***" in said
    assert "ValueError: invalid literal" in said
    assert "do-not-show" not in said.replace('hidden = "do-not-show"', "")
    assert "\x1b" not in said


@pytest.mark.parametrize("style", ["json", "console"])
def test_what_libraries_log(capsys: pytest.CaptureFixture[str], style: str) -> None:
    """Warnings of libraries come out in the same style, once, and less than that not at all."""
    configure_logging("debug", style)  # type: ignore[arg-type]
    configure_logging("debug", style)  # type: ignore[arg-type]
    logging.getLogger("library").info("unheard")
    logging.getLogger("library").warning("seen %d", 7)
    (line,) = capsys.readouterr().err.splitlines()
    assert "seen 7" in line
    assert (json.loads(line)["level"] if style == "json" else "warning") == "warning"


VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@settings(max_examples=40, deadline=None)
@given(event=st.dictionaries(st.text(), VALUES))
def test_any_event_is_one_line(event: dict[str, object]) -> None:
    """No value breaks the log: half a character, a huge number, keys that are no strings."""
    line = _as_json(redact(None, "", event))
    assert "\n" not in line
    json.loads(line)


@settings(max_examples=40, deadline=None)
@given(value=VALUES, word=st.sampled_from(["token", "PASSWORD", "x_api_key", "Authorization"]))
def test_secrets_are_hidden_at_any_depth(value: object, word: str) -> None:
    """The value of a key that names a secret is never shown; the event that came in is left."""
    inner = {word: value}
    event = {"outer": [{"more": inner}], word: value}
    shown = redact(None, "", dict(event))
    assert shown == {"outer": [{"more": {word: "***"}}], word: "***"}
    assert inner[word] is value
