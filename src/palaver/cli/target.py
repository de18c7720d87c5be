"""Finding the agent that a user names as ``module:attribute``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from palaver.agents import demo
from palaver.engine.agent import Agent
from palaver.errors import AgentError

__all__ = ["load_agent"]


def load_agent(target: str | None) -> Agent:
    """Return the agent at ``module:attribute`` (attribute: ``agent``), or the demo agent.

    The current folder is looked in, too; a path to a ``.py`` file will do as the module.

    Raises:
        AgentError: there is none; the text says what was found instead.

    """
    if target is None:
        return demo.agent
    name, _, attribute = target.partition(":")
    attribute = attribute or "agent"
    if name.endswith(".py"):
        file = Path(name).resolve()
        if not file.is_file():
            message = f"{target}: there is no file {name}"
            raise AgentError(message)
        sys.path.insert(0, str(file.parent))
        name = file.stem
    elif all(step.isidentifier() for step in name.split(".")):
        sys.path.insert(0, str(Path.cwd()))
    else:
        message = f"{target}: write MODULE:AGENT or FILE.py:AGENT"
        raise AgentError(message)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name and not name.startswith(f"{error.name}."):
            message = f"{target}: importing {name!r} failed: {error}"
            raise AgentError(message) from error
        message = f"{target}: there is no module {name!r} here or among the installed packages"
        raise AgentError(message) from None
    except Exception as error:
        message = f"{target}: importing {name!r} failed: {type(error).__name__}: {error}"
        raise AgentError(message) from error
    found = getattr(module, attribute, None)
    if isinstance(found, Agent):
        return found
    agents = sorted(key for key, value in vars(module).items() if isinstance(value, Agent))
    hint = f"; it has: {', '.join(agents)}" if agents else ""
    message = f"{target}: {name!r} has no Agent named {attribute!r}{hint}"
    raise AgentError(message)
