"""The chat agent: what the model is told, what comes of its answer, and where it is named."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.agents import chat as chat_module
from palaver.agents.chat import ChatOptions, ModelUnavailable, chat_agent
from palaver.engine.agent import Agent
from palaver.engine.outputs import Rejected
from palaver.engine.turn import Turn
from palaver.errors import ConfigError, ProviderError
from palaver.model.content import DataPart, FilePart, Message, Part, TextPart
from palaver.model.states import TaskState
from palaver.model.task import Task
from palaver.providers.interfaces import ChatMessage
from palaver.testing.openai_api import ApiFault, OpenAiApi
from tests.conftest import Serve
from tests.server.asgi import serving
from tests.server.raw import call
from tests.server.spoken import V03

TIMEOUT = 30.0


class Scripted:
    """A model that says these pieces, fails where an error stands, and keeps what it was told."""

    def __init__(self, *script: str | ProviderError) -> None:
        self.script = script
        self.told: list[Sequence[ChatMessage]] = []
        self.closed = 0

    async def stream(self, messages: Sequence[ChatMessage]) -> AsyncIterator[str]:
        """Follow the script."""
        self.told.append(messages)
        try:
            for piece in self.script:
                if isinstance(piece, ProviderError):
                    raise piece
                yield piece
        finally:
            self.closed += 1

    async def close(self) -> None:
        """Do nothing."""


class Inert:
    """A turn's surroundings, where nothing is asked of them."""

    stopped = False

    async def ask(self, question: tuple[Part, ...]) -> Message:
        """Answer nothing."""
        raise NotImplementedError

    async def emit(self, item: Any) -> None:
        """Put out nothing."""

    def call_action(self, action: str, target: str | None) -> None:
        """Act on nothing."""

    def carry_on(self) -> str:
        """Know of nothing."""
        return ""


def said(role: str, *parts: str | Part) -> Message:
    """Return a message."""
    return Message(
        id="m1",
        role="user" if role == "user" else "agent",
        parts=tuple(TextPart(part) if isinstance(part, str) else part for part in parts),
    )


async def answer(agent: Agent, message: Message, context: Sequence[Message] = ()) -> list[str]:
    """Return the pieces that the agent answers to ``message``."""
    skill, text = agent.choose(message.text)
    task = Task(
        id="task_1",
        conversation_id="c",
        agent_id=agent.id,
        principal="anonymous",
        wire="test",
        seq=1,
        created_at=0.0,
        state=TaskState.WORKING,
        state_at=0.0,
        history=(message,),
        context=tuple(context),
    )
    turn = Turn(
        task,
        text=text,
        skill_id=skill.profile.id,
        language=None,
        attempt=1,
        actions=Inert(),
    )
    pieces = skill.handler(turn)
    assert isinstance(pieces, AsyncIterator)
    return [str(piece) async for piece in pieces]


async def test_what_the_model_is_told() -> None:
    """The prompt of the system, what was said before, and the message, whole."""
    model = Scripted("Fine", ", thanks.")
    agent = chat_agent(model, system_prompt="Be kind.")
    before = [said("user", "Hi."), said("agent", "Hello!"), said("agent", " ")]
    asked = said("user", "Chat with me:", " how are you?", DataPart({"mood": "good"}))
    assert await answer(agent, asked, before) == ["Fine", ", thanks."]
    assert model.told == [
        [
            ChatMessage("system", "Be kind."),
            ChatMessage("user", "Hi."),
            ChatMessage("assistant", "Hello!"),
            ChatMessage("user", 'Chat with me: how are you?\n{"mood":"good"}'),
        ]
    ]
    assert model.closed == 1


async def test_data_alone_and_no_prompt() -> None:
    """Data needs no text beside it, and a blank prompt is not sent."""
    model = Scripted("ok")
    await answer(chat_agent(model, system_prompt=""), said("user", DataPart([1])))
    assert model.told == [[ChatMessage("user", "[1]")]]


@given(
    st.lists(st.tuples(st.sampled_from(["user", "agent"]), st.text(max_size=12)), max_size=12),
    st.integers(0, 40),
)
def test_what_was_said_is_bounded(spoken: list[tuple[str, str]], limit: int) -> None:
    """The oldest goes first, messages stay whole, and the model is never over the limit."""
    model = Scripted("ok")
    agent = chat_agent(model, system_prompt="", max_history_chars=limit)
    context = [said(role, text) for role, text in spoken]
    asyncio.run(answer(agent, said("user", "And now?"), context))
    [told] = model.told
    roles = {"user": "user", "agent": "assistant"}
    all_of_it = [ChatMessage(roles[r], text) for r, text in spoken if text.strip()]  # type: ignore[arg-type]
    kept = list(told[:-1])
    assert kept == all_of_it[len(all_of_it) - len(kept) :]
    assert sum(len(message.text) for message in kept) <= limit
    assert not kept or kept[0].role == "user"
    if sum(len(text) for _, text in spoken) <= limit and spoken and spoken[0][0] == "user":
        assert kept == all_of_it or not spoken[0][1].strip()


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((" \n",), "There is nothing to answer: say something."),
        (("Look:", FilePart(uri="http://x/y")), "Only text and data can be read here, no files."),
    ],
)
async def test_what_it_does_not_take(parts: tuple[str | Part, ...], text: str) -> None:
    """Nothing, and files, are declined with a reason, and the model is not asked."""
    model = Scripted("ok")
    with pytest.raises(Rejected) as caught:
        await answer(chat_agent(model), said("user", *parts))
    assert str(caught.value) == text
    assert model.told == []


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ((ProviderError("secret"),), "The language model could not be reached."),
        (("half", ProviderError("secret")), "The language model broke off."),
        ((), "The language model gave no answer."),
        ((" ", "\n"), "The language model gave no answer."),
    ],
)
async def test_a_model_that_fails(script: tuple[str | ProviderError, ...], text: str) -> None:
    """What is said of it is safe to show; the cause stays with the error."""
    model = Scripted(*script)
    with pytest.raises(ModelUnavailable) as caught:
        await answer(chat_agent(model), said("user", "hi"))
    assert str(caught.value) == text
    assert model.closed == 1


async def test_a_failure_fails_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    """The caller reads nothing of the reason; the log has it."""
    agent = chat_agent(Scripted(ProviderError("http://inner:1/v1 cannot be reached")))
    async with serving(agent) as app:
        task = await V03.task(app, "message/send", V03.said("hi", "m1"))
    assert task["status"]["state"] == "failed"
    assert "inner" not in str(task)
    assert "http://inner:1/v1 cannot be reached" in "".join(capsys.readouterr())


URL = "http://host:1/v1"


@pytest.mark.parametrize(
    "environ",
    [
        {
            "PALAVER_CHAT_BASE_URL": URL,
            "PALAVER_CHAT_MODEL": "m",
            "PALAVER_CHAT_API_KEY": "k",
            "OPENAI_MODEL": "n",
        },
        {"OPENAI_BASE_URL": URL + "/", "OPENAI_MODEL": " m ", "OPENAI_API_KEY": "k"},
    ],
)
def test_the_environment_names_the_model(environ: Mapping[str, str]) -> None:
    """Our own variables, or the customary ones."""
    options = ChatOptions.from_environment(environ)
    endpoint = options.endpoint
    assert (endpoint.base_url, endpoint.model, endpoint.api_key) == (URL, "m", "k")
    assert "few short sentences" in options.system_prompt


def test_a_key_goes_where_it_was_meant_for() -> None:
    """The customary key is not sent to an endpoint that our own variables name."""
    environ = {"PALAVER_CHAT_BASE_URL": URL, "PALAVER_CHAT_MODEL": "m", "OPENAI_API_KEY": "k"}
    assert ChatOptions.from_environment(environ).endpoint.api_key == ""


def test_more_of_the_environment() -> None:
    """Prompt, history and deadline can be set."""
    environ = {
        "PALAVER_CHAT_BASE_URL": URL,
        "PALAVER_CHAT_MODEL": "m",
        "PALAVER_CHAT_SYSTEM_PROMPT": "Be kind.",
        "PALAVER_CHAT_MAX_HISTORY_CHARS": "50",
        "PALAVER_CHAT_DEADLINE": "7.5",
    }
    options = ChatOptions.from_environment(environ)
    assert (options.system_prompt, options.max_history_chars) == ("Be kind.", 50)
    assert options.endpoint.deadline == 7.5


NEEDED = (
    "it has to be set, for the chat agent asks a language model: its base URL, such as "
    "http://localhost:11434/v1, and its name"
)
ENOUGH = MappingProxyType({"PALAVER_CHAT_BASE_URL": URL, "PALAVER_CHAT_MODEL": "m"})


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({}, f"PALAVER_CHAT_BASE_URL: {NEEDED}"),
        ({"OPENAI_API_KEY": "sk-secret"}, f"PALAVER_CHAT_BASE_URL: {NEEDED}"),
        ({"PALAVER_CHAT_BASE_URL": URL}, f"PALAVER_CHAT_MODEL: {NEEDED}"),
        (ENOUGH | {"PALAVER_CHAT_MODLE": "m"}, "PALAVER_CHAT_MODLE: there is no such setting"),
        (
            ENOUGH | {"PALAVER_CHAT_BASE_URL": "host/v1"},
            "PALAVER_CHAT_BASE_URL: write it as https://HOST/v1",
        ),
        (
            ENOUGH | {"PALAVER_CHAT_API_KEY": "sk-secret other"},
            "PALAVER_CHAT_API_KEY: a key holds no spaces",
        ),
        (
            ENOUGH | {"PALAVER_CHAT_DEADLINE": "soon"},
            "PALAVER_CHAT_DEADLINE: must be a number from 0.1 to 3600, not 'soon'",
        ),
        (
            ENOUGH | {"PALAVER_CHAT_MAX_HISTORY_CHARS": "-1"},
            "PALAVER_CHAT_MAX_HISTORY_CHARS: must be a number from 0 to 1e+07, not '-1'",
        ),
        (
            {"OPENAI_BASE_URL": "ftp://x", "OPENAI_MODEL": "m"},
            "OPENAI_BASE_URL: write it as https://HOST/v1",
        ),
    ],
)
def test_what_is_wrong_in_the_environment(environ: dict[str, str], text: str) -> None:
    """The variable is named, and a key is not shown."""
    with pytest.raises(ConfigError) as caught:
        ChatOptions.from_environment(environ)
    assert str(caught.value) == f"environment variable {text}"


def test_to_import_it_needs_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent is made when it is asked for, once; other names are missing as ever."""
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "PALAVER_CHAT_"))]:
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError):
        chat_module.__getattr__("agent")
    assert not hasattr(chat_module, "agents")
    monkeypatch.setenv("OPENAI_BASE_URL", URL)
    monkeypatch.setenv("OPENAI_MODEL", "m")
    try:
        assert chat_module.agent is chat_module.agent
        assert chat_module.agent.id == "chat"
    finally:
        vars(chat_module).pop("agent", None)


async def ask(http: httpx2.AsyncClient, text: str) -> tuple[str, str]:
    """Return the state of the task that a running server makes of ``text``, and the answer."""
    asked = call("message/send", V03.said(text, text))
    response = await http.post("/a2a", content=asked, headers={"Content-Type": "application/json"})
    task = response.json()["result"]
    parts = (task.get("artifacts") or [task["status"]["message"]])[0]["parts"]
    return task["status"]["state"], parts[0]["text"]


async def test_it_is_served(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """``palaver serve palaver.agents.chat`` says what the endpoint says, and survives it."""
    async with asyncio.timeout(TIMEOUT), OpenAiApi(api_key="sk-secret-1") as api:
        monkeypatch.setenv("OPENAI_BASE_URL", api.base_url)
        monkeypatch.setenv("OPENAI_MODEL", "test-model")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
        server = serve("palaver.agents.chat")
        async with httpx2.AsyncClient(base_url=server.url, timeout=TIMEOUT) as http:
            assert await ask(http, "tell me three words") == ("completed", "tell me three words")
            api.fail(ApiFault(status=401, message="sk-secret-1"))
            state, shown = await ask(http, "again")
            assert state == "failed"
            assert "sk-secret-1" not in shown + server.log.read_text(encoding="utf-8")
            assert await ask(http, "and again") == ("completed", "and again")
