"""The three generations side by side: how each says the same request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from palaver.app import App
from tests.server.asgi import Exchange, ask
from tests.server.raw import call


@dataclass(frozen=True, slots=True)
class Spoken:
    """One generation: its headers and methods, and the shape of its params."""

    name: str
    headers: dict[str, str]
    send: str
    stream: str
    get: str
    cancel: str
    subscribe: str

    def said(
        self, text: str, message_id: str, task_id: str | None = None, **configuration: Any
    ) -> dict[str, Any]:
        """Return the params of a message. In 0.1 a new task has the id ``message_id``."""
        if self.name == "0.1":
            message = {"role": "user", "parts": [{"type": "text", "text": text}]}
            return {"id": task_id or message_id, "message": message} | configuration
        known = {} if task_id is None else {"taskId": task_id}
        message = {"messageId": message_id, **known}
        if self.name == "0.3":
            message |= {"kind": "message", "role": "user"}
            message |= {"parts": [{"kind": "text", "text": text}]}
        else:
            message |= {"role": "ROLE_USER", "parts": [{"text": text}]}
        return {"message": message} | ({"configuration": configuration} if configuration else {})

    def ask(
        self, app: App, method: str, params: Any, path: str = "/a2a", query: str = "", **more: str
    ) -> Exchange:
        """Return the request, begun; ``more`` are headers."""
        headers = self.headers | {name.replace("_", "-"): value for name, value in more.items()}
        return ask(app, call(method, params, "r-1"), path, headers, query=query)

    async def task(self, app: App, method: str, params: Any) -> Any:
        """Return the task that a request is answered with."""
        answer = (await self.ask(app, method, params).answered()).json
        result = answer["result"]
        return result.get("task", result)

    def state(self, result: Any) -> str:
        """Return the state in what a stream or an answer says, in the words of 0.3."""
        for member in ("task", "statusUpdate", "artifactUpdate"):
            result = result.get(member, result)
        if "status" not in result:
            return "artifact"
        state: str = result["status"]["state"]
        return state.removeprefix("TASK_STATE_").lower().replace("_", "-")

    def task_id(self, result: Any) -> str:
        """Return the id of the task in what a stream says."""
        for member in ("task", "statusUpdate", "artifactUpdate"):
            result = result.get(member, result)
        found: str = result.get("taskId") or result["id"]
        return found


V01 = Spoken(
    "0.1",
    {},
    "tasks/send",
    "tasks/sendSubscribe",
    "tasks/get",
    "tasks/cancel",
    "tasks/resubscribe",
)
V03 = Spoken(
    "0.3", {}, "message/send", "message/stream", "tasks/get", "tasks/cancel", "tasks/resubscribe"
)
V10 = Spoken(
    "1.0",
    {"A2A-Version": "1.0"},
    "SendMessage",
    "SendStreamingMessage",
    "GetTask",
    "CancelTask",
    "SubscribeToTask",
)
GENERATIONS = [V01, V03, V10]
