"""The demo agent shows every flow, offline."""

from __future__ import annotations

import re
from typing import Any

import pytest

from palaver.agents.demo import agent
from palaver.engine.engine import Engine, Submission
from palaver.protocols.asap.mapping import WIRE, task_response, task_submission
from palaver.protocols.asap.messages import TaskRequest
from palaver.storage.memory import MemoryStorage
from tests.protocols.asap.samples import envelope
from tests.server.asgi import ask, serving
from tests.server.raw import call
from tests.server.spoken import V03


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        ("echo one two three", "completed", r"one two three"),
        ("nothing of the kind", "completed", r"nothing of the kind"),
        ("clock", "completed", r"It is \d\d:\d\d:\d\d UTC\."),
        ("count 3", "completed", r"1 2 3"),
        ("count 0", "rejected", r"count needs a number from 1 to 10000, not '0'"),
        ("count many", "rejected", r"count needs a number from 1 to 10000, not 'many'"),
        ("book", "input-required", r"For which day\?"),
        ("fail", "failed", r"The agent failed\."),
        ("transfer", "completed", r"I am putting you through to reception\."),
        ("transfer 100", "completed", r"I am putting you through to 100\."),
        ("bye", "completed", r"Goodbye\."),
        ("What time is it?", "completed", r"It is \d\d:\d\d UTC\."),
        ("que horas são", "completed", r"(São \d+ horas|É 1 hora) e (\d+ minutos|1 minuto), UTC\."),
        ("Hello!", "completed", r"Hello!"),
        ("count to 5", "completed", r"1 2 3 4 5"),
        ("Conte até 5.", "completed", r"1 2 3 4 5"),
        ("reserve uma mesa", "input-required", r"Para que dia\?"),
        ("transfer me to sales", "completed", r"I am putting you through to sales\."),
        ("me transfira para vendas", "completed", r"Estou transferindo a ligação para vendas\."),
        ("Tchau!", "completed", r"Tchau\."),
        ("ajuda", "completed", r"Diga: .*"),
        ("what can you do?", "completed", r"Say: .*"),
    ],
)
async def test_what_it_says(text: str, state: str, words: str) -> None:
    """Each skill ends as it promises."""
    async with serving(agent) as app:
        task = await V03.task(app, "message/send", V03.said(text, "m1"))
    assert task["status"]["state"] == state
    said = task.get("artifacts", [{}])[0].get("parts") or task["status"]["message"]["parts"]
    assert re.fullmatch(words, said[0]["text"])


async def test_data_parts() -> None:
    """``count`` takes its number as data, too; ``echo`` gives other parts back."""
    data = {"kind": "data", "data": {"n": 2}}
    async with serving(agent) as app:
        for text, shown in (("count", "1 2"), ("echo hi", "hi")):
            said = V03.said(text, text)
            said["message"]["parts"].append(data)
            answer = await ask(app, call("message/send", said)).answered()
            artifacts = answer.json["result"]["artifacts"]
            parts = [part for artifact in artifacts for part in artifact["parts"]]
            assert parts[0] == {"kind": "text", "text": shown}
            assert parts[1:] == ([data] if text == "echo hi" else [])


@pytest.mark.parametrize(
    ("skill_id", "given", "status", "result"),
    [
        (
            "echo",
            {"message": "hi there", "n": 1},
            "completed",
            {"text": "hi there", "echoed": {"message": "hi there", "n": 1}},
        ),
        ("echo", {"a": [None]}, "completed", {"echoed": {"a": [None]}}),
        ("echo", {}, "completed", {"echoed": {}}),
        ("count", {"n": 3}, "completed", {"text": "1 2 3"}),
        ("count", {"n": "3"}, "completed", {"text": "1 2 3"}),
        ("count", {"text": "2"}, "completed", {"text": "1 2"}),
        (
            "count",
            {"n": 0},
            "failed",
            {
                "error": {
                    "code": "asap:capability/input_validation",
                    "message": "count needs a number from 1 to 10000, not '0'",
                }
            },
        ),
        (
            "fail",
            {},
            "failed",
            {
                "error": {
                    "code": "asap:execution/task_failed",
                    "message": "The agent failed.",
                    "reason": "agent_error",
                }
            },
        ),
        ("book", {}, "input_required", {"input_request": {"prompt": "For which day?"}}),
        (
            "transfer",
            {"text": "sales"},
            "completed",
            {"text": "I am putting you through to sales."},
        ),
    ],
)
async def test_structured_input(
    skill_id: str, given: dict[str, Any], status: str, result: dict[str, Any]
) -> None:
    """Asked with an input that is an object, a skill answers with a result that is one."""
    asked = TaskRequest(conversation_id="c1", skill_id=skill_id, input=given)
    new = task_submission(envelope(), asked, agent_id=agent.id, principal="p", key="k")
    storage = MemoryStorage()
    await storage.open()
    engine = Engine(storage, [agent])
    await engine.start()
    try:
        submission = Submission(
            agent_id=agent.id, message=new.message, wire=WIRE, skill_id=new.skill_id
        )
        task = await engine.settled((await engine.submit(submission)).id, timeout=10)
    finally:
        await engine.stop()
        await storage.close()
    answer = task_response(task)
    assert (answer.status, answer.result) == (status, result)


@pytest.mark.parametrize(
    ("said", "answers", "booked"),
    [
        ("book", ("Monday", "4"), "Booked: Monday, 4 people."),
        ("book a table", ("tomorrow", "two people"), "Booked: tomorrow, two people."),
        ("reserve uma mesa", ("hoje", "duas pessoas"), "Reservado: hoje, duas pessoas."),
    ],
)
async def test_a_booking(said: str, answers: tuple[str, str], booked: str) -> None:
    """``book`` asks twice, then books."""
    async with serving(agent) as app:
        task = await V03.task(app, "message/send", V03.said(said, "m1"))
        for number, answer in enumerate(answers, 2):
            answered = V03.said(answer, f"m{number}", task["id"])
            task = await V03.task(app, "message/send", answered)
    assert task["artifacts"][0]["parts"][0]["text"] == booked


def test_both_languages_reach_every_skill() -> None:
    """Both languages have a way to ask for each skill but ``fail``, and days to answer with."""
    for language in ("en", "pt-BR"):
        mine = [phrase for phrase in agent.phrases if phrase.language == language]
        skills = {phrase.skill_id for phrase in mine if phrase.skill_id}
        assert skills == {skill.id for skill in agent.profile.skills} - {"fail"}
        assert sum(phrase.skill_id is None for phrase in mine) == 14
