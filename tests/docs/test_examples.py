"""The examples run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from palaver.testing.openai_api import OpenAiApi
from tests.conftest import Serve
from tests.docs.documents import ROOT

_EXAMPLES = ROOT / "examples"


def _run(program: str, *args: str) -> str:
    command = [sys.executable, str(_EXAMPLES / program), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def _call(url: str, text: str) -> str:
    command = [sys.executable, "-m", "palaver", "call", url, text]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


@pytest.fixture(scope="module")
def front_desk(serve: Serve) -> str:
    """Serve the concierge; return where."""
    return serve("concierge:agent", cwd=_EXAMPLES).url


def test_the_client_asks_the_concierge(front_desk: str) -> None:
    """The client streams an answer, and answers the question that it is asked."""
    assert _run("client.py", front_desk) == (
        "Breakfast is served from 7 to 10.\n"
        "agent asks: For which day?\n"
        "Booked for Friday, 2 guests.\n"
        "task: completed\n"
    )


def test_the_client_resumes(front_desk: str) -> None:
    """The client leaves a stream in the middle, and goes on behind the last event that it saw."""
    first, rest, state = _run("resume.py", front_desk).splitlines()
    assert first == "Floor 1 "
    assert rest == "Floor 2 Floor 3 Floor 4 Floor 5 "
    assert state == "task: completed"


async def test_the_chat_agent_answers(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chat agent passes on what its language model says, which it asks as the example sets."""
    async with OpenAiApi(models=("llama3.2",)) as api:
        monkeypatch.setenv("CHAT_BASE_URL", api.base_url)
        url = serve("chat_agent:agent", cwd=_EXAMPLES).url
        said = await asyncio.to_thread(_call, url, "Where is it?")
        [asked] = api.requests
    assert said == "Where is it?\n"
    assert asked.fields["temperature"] == 0.3
    assert "hotel" in asked.fields["messages"][0]["content"]


def test_nothing_stands_in_examples_without_a_test() -> None:
    """Each example is one that a test here runs."""
    here = Path(__file__).read_text(encoding="utf-8")
    for example in _EXAMPLES.glob("*.py"):
        assert example.stem in here, example.name
