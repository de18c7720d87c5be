"""The chat agent: hands what is said to a language model, and streams what that answers.

``chat_agent`` makes one of any ``ChatModel``. ``palaver serve palaver.agents.chat`` serves one
that asks an endpoint of the OpenAI API, which environment variables name:

==================================  ========================================================
``PALAVER_CHAT_BASE_URL``           where the API begins, such as ``http://localhost:11434/v1``
``PALAVER_CHAT_MODEL``              the name of a model there
``PALAVER_CHAT_API_KEY``            what the endpoint asks for, if it does
``PALAVER_CHAT_SYSTEM_PROMPT``      what the model is told before anything is said
``PALAVER_CHAT_MAX_HISTORY_CHARS``  how much of the conversation it is told again
``PALAVER_CHAT_DEADLINE``           the seconds that an answer may be waited for
==================================  ========================================================

Where none of them is set, ``OPENAI_BASE_URL``, ``OPENAI_MODEL`` and ``OPENAI_API_KEY`` are taken.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import orjson

from palaver.engine.agent import Agent
from palaver.engine.outputs import Failed, Rejected
from palaver.engine.turn import Turn
from palaver.errors import ConfigError, ProviderError
from palaver.model.content import Message
from palaver.providers.interfaces import ChatMessage, ChatModel
from palaver.providers.openai_chat import OpenAiChat
from palaver.providers.openai_options import OpenAiOptions

__all__ = ["ChatOptions", "ModelUnavailable", "chat_agent"]

_PREFIX: Final = "PALAVER_CHAT_"
_CUSTOMARY: Final = "OPENAI_"
_NAMES: Final = ("BASE_URL", "MODEL", "API_KEY")
_OWN_NAMES: Final = (*_NAMES, "SYSTEM_PROMPT", "MAX_HISTORY_CHARS", "DEADLINE")

_SYSTEM_PROMPT: Final = (
    "You are a friendly assistant. Answer in the language that you are spoken to, in a few short "
    "sentences. Your answer may be read aloud: write plain text, without lists or markup."
)
_MAX_HISTORY_CHARS: Final = 16_000


class ModelUnavailable(Failed):
    """The language model gave no answer; the text is safe to show, the cause is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """What the agent of this module is made of."""

    endpoint: OpenAiOptions
    system_prompt: str = _SYSTEM_PROMPT
    max_history_chars: int = _MAX_HISTORY_CHARS

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ChatOptions:
        """Read the variables that the module's text names.

        Raises:
            ConfigError: one is missing, unknown or cannot be used; the text names it.

        """
        own = {name for name in environ if name.startswith(_PREFIX)}
        unknown = sorted(own - {_PREFIX + name for name in _OWN_NAMES})
        if unknown:
            message = f"environment variable {unknown[0]}: there is no such setting"
            raise ConfigError(message)
        # Never mixed: a key would go to an endpoint that it was not meant for.
        prefix = _PREFIX if own else _CUSTOMARY
        given = {name.lower(): environ.get(prefix + name, "").strip() for name in _NAMES}
        for name in ("BASE_URL", "MODEL"):
            if not given[name.lower()]:
                message = (
                    f"environment variable {_PREFIX}{name}: it has to be set, for the chat agent "
                    "asks a language model: its base URL, such as http://localhost:11434/v1, and "
                    "its name"
                )
                raise ConfigError(message)
        more: dict[str, Any] = {}
        if own and environ.get(f"{_PREFIX}SYSTEM_PROMPT", "").strip():
            more["system_prompt"] = environ[f"{_PREFIX}SYSTEM_PROMPT"]
        if f"{_PREFIX}MAX_HISTORY_CHARS" in own:
            more["max_history_chars"] = int(_number(environ, "MAX_HISTORY_CHARS", 0, 10_000_000))
        at: dict[str, Any] = dict(given)
        if f"{_PREFIX}DEADLINE" in own:
            at["deadline"] = _number(environ, "DEADLINE", 0.1, 3_600)
        try:
            return cls(endpoint=OpenAiOptions(**at), **more)
        except ConfigError as error:
            name, _, why = str(error).partition(": ")
            message = f"environment variable {prefix}{name.upper()}: {why}"
            raise ConfigError(message) from None


def _number(environ: Mapping[str, str], name: str, least: float, most: float) -> float:
    given = environ[_PREFIX + name].strip()
    try:
        number = float(given)
    except ValueError:
        number = least - 1
    if least <= number <= most:
        return number
    message = (
        f"environment variable {_PREFIX}{name}: must be a number from {least:g} to {most:g}, "
        f"not {given[:40]!r}"
    )
    raise ConfigError(message)


def chat_agent(
    model: ChatModel,
    *,
    name: str = "Chat",
    system_prompt: str = _SYSTEM_PROMPT,
    max_history_chars: int = _MAX_HISTORY_CHARS,
    description: str = "Talks with people: a language model answers",
    version: str = "1.0.0",
) -> Agent:
    """Return an agent that answers with what ``model`` writes, as it writes it.

    Of what was said before in the conversation, the model is told the last
    ``max_history_chars`` characters at most, in whole messages; the message itself goes whole.

    When the model fails, so does the task: with a text that is safe to show, and with the reason
    in the log. The model is not closed by the agent.

    Raises:
        AgentError: the name cannot be used.

    """
    agent = Agent(name, description=description, version=version, restartable=True)

    @agent.skill(
        "chat",
        description="Answers what is said, in the language in which it is said",
        tags=("text", "chat"),
        default=True,
    )
    async def chat(turn: Turn) -> AsyncIterator[str]:
        """Stream the model's answer."""
        said = [_asked(message) for message in turn.history]
        if not any(message.text.strip() for message in said):
            message = "There is nothing to answer: say something."
            raise Rejected(message)
        prompt = [ChatMessage("system", system_prompt)] if system_prompt.strip() else []
        before = _recent(turn.context, max_history_chars)
        async with aclosing(_answer(model, [*prompt, *before, *said])) as pieces:
            async for piece in pieces:
                yield piece

    return agent


async def _answer(model: ChatModel, messages: Sequence[ChatMessage]) -> AsyncGenerator[str, None]:
    """Yield what the model writes; to close this closes its stream, too, and so stops it."""
    stream = model.stream(messages)
    answered = False
    try:
        async for piece in stream:
            answered = answered or bool(piece.strip())
            yield piece
    except ProviderError as error:
        what = "broke off" if answered else "could not be reached"
        message = f"The language model {what}."
        raise ModelUnavailable(message) from error
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
    if not answered:
        message = "The language model gave no answer."
        raise ModelUnavailable(message)


def _asked(message: Message) -> ChatMessage:
    """Return a message of the caller as the model reads it: its text, and its data as JSON.

    The whole text is taken: a first word that names the skill belongs to what was said.
    """
    if any(part.kind == "file" for part in message.parts):
        refusal = "Only text and data can be read here, no files."
        raise Rejected(refusal)
    data = [orjson.dumps(part.data).decode() for part in message.parts if part.kind == "data"]
    return ChatMessage("user", "\n".join([message.text, *data] if message.text else data))


def _recent(context: Sequence[Message], max_chars: int) -> list[ChatMessage]:
    """Return the end of what was said before, in whole messages, from something the caller said."""
    kept: list[ChatMessage] = []
    for message in reversed(context):
        text = message.text
        max_chars -= len(text)
        if max_chars < 0:
            break
        if text.strip():
            kept.append(ChatMessage("user" if message.role == "user" else "assistant", text))
    # An answer to what is no longer there misleads, and some models refuse to begin with one.
    while kept and kept[-1].role == "assistant":
        kept.pop()
    return kept[::-1]


def __getattr__(name: str) -> Agent:
    """Make ``agent`` when it is asked for: to import the module needs no settings."""
    if name != "agent":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    options = ChatOptions.from_environment(os.environ)
    agent = chat_agent(
        OpenAiChat(options.endpoint),
        system_prompt=options.system_prompt,
        max_history_chars=options.max_history_chars,
    )
    globals()["agent"] = agent
    return agent
