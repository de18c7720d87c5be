"""A call as a user makes it: ``palaver serve`` with the demo agent, ``palaver talk`` a file."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from palaver.agents.demo import agent as demo
from palaver.engine.phrases import Phrase
from palaver.media.wave_file import read_wave, write_wave
from palaver.providers.espeak import EspeakSpeech, EspeakVoice
from palaver.providers.vocabulary import VocabularyRecogniser
from palaver.speech.detector import Samples
from palaver.speech.resample import resample
from tests.cli.conftest import Run
from tests.conftest import Serve, Server

AUDIO = Path(__file__).parents[2] / "examples" / "audio"
RATE = 8_000


@pytest.fixture(scope="module")
def line(serve: Serve) -> Server:
    """Serve the demo agent, as it comes."""
    return serve("--set", "log_format=json")


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of "count to 10": a shorter answer than that of the example."""

    async def speak() -> bytes:
        speech = EspeakSpeech(EspeakVoice(rate_wpm=150, pitch=42, variant="m7"))
        try:
            return b"".join([chunk async for chunk in speech.speak("Count to 10.", language="en")])
        finally:
            await speech.close()

    said = np.frombuffer(asyncio.run(speak()), np.int16)
    telephone = resample(said, 22_050, RATE)
    path = tmp_path_factory.mktemp("said") / "count-to-ten.wav"
    write_wave(path, np.concatenate([pause(0.3), telephone // 2, pause(0.7)]), RATE)
    return path


def address(line: Server) -> str:
    """Return where to call."""
    return f"ws://127.0.0.1:{line.port}/asp"


def happenings(text: str) -> list[dict[str, Any]]:
    """Return what ``palaver talk --json`` has told."""
    return [json.loads(line) for line in text.splitlines()]


def of(found: list[dict[str, Any]], kind: str, **members: Any) -> list[dict[str, Any]]:
    """Return what happened of a kind, with those members."""
    return [one for one in found if one["type"] == kind and members.items() <= one.items()]


async def understood(sound: Path, phrases: list[Phrase]) -> str:
    """Return what our own recogniser understands of a file, among those phrases."""
    voice = EspeakSpeech()
    recogniser = VocabularyRecogniser(phrases, [voice], cache=None)
    try:
        await recogniser.open()
        return (await recogniser.transcribe(read_wave(sound).samples.tobytes())).text
    finally:
        await recogniser.close()
        await voice.close()


def around(now: datetime, language: str) -> list[str]:
    """Return the answers that the clock gives within some minutes, in that language."""
    times = [now + timedelta(minutes=minutes) for minutes in range(-3, 4)]
    if language == "en":
        return [f"It is {one:%H:%M} UTC." for one in times]
    return [_in_portuguese(one) for one in times]


def _in_portuguese(at: datetime) -> str:
    hours = "É uma hora" if at.hour == 1 else f"São {at.hour} horas"
    hours = "É zero hora" if at.hour == 0 else hours
    minutes = f"{at.minute} minuto" if at.minute == 1 else f"{at.minute} minutos"
    return f"{hours} e {minutes}, UTC."


@pytest.mark.parametrize(
    ("file", "language", "heard", "answer"),
    [
        ("what-time-is-it.wav", "en", "what time is it", r"It is \d\d:\d\d UTC\."),
        ("que-horas-sao.wav", "pt-BR", "que horas são", r"\w+ \w+ horas? e \d+ minutos?, UTC\."),
    ],
)
async def test_a_question_is_understood_and_answered(
    run: Run, line: Server, tmp_path: Path, file: str, language: str, heard: str, answer: str
) -> None:
    """The transcript and the answer are printed; the reply is speech that we understand."""
    before = datetime.now(UTC)
    reply = tmp_path / "reply.wav"
    ended = await asyncio.to_thread(
        run, "talk", address(line), str(AUDIO / file), "--save", str(reply), "--json"
    )
    found = happenings(ended.out)
    assert ended.code == 0
    (user,) = of(found, "transcript", role="user")
    (said,) = of(found, "transcript", role="agent")
    assert (user["text"], user["language"]) == (heard, language)
    assert re.fullmatch(answer, said["text"])
    texts = {said["text"], *around(before, language)}
    phrases = [Phrase(text, language, None, "") for text in sorted(texts)]
    assert await understood(reply, [*phrases, *demo.phrases]) == said["text"]


def test_people_read_the_call(run: Run, line: Server) -> None:
    """What was heard and answered is there in words, with the task that can be followed."""
    ended = run("talk", address(line), str(AUDIO / "what-time-is-it.wav"))
    assert ended.code == 0
    assert "you: what time is it" in ended.out
    assert re.search(r"agent: It is \d\d:\d\d UTC\.", ended.out)
    assert re.search(r"palaver call http://127\.0\.0\.1:\d+ --task task_\w+", ended.out)


def test_a_call_is_a_task_that_others_follow(run: Run, line: Server, ten: Path) -> None:
    """While the caller hears the answer, an A2A client reads it from the same task."""
    command = [sys.executable, "-m", "palaver", "talk", address(line), "--json"]
    with subprocess.Popen([*command, str(ten)], stdout=subprocess.PIPE, text=True) as talking:
        assert talking.stdout is not None
        told: list[str] = []
        for text in talking.stdout:
            told.append(text)
            if of(happenings(text), "transcript", role="user"):
                break
        (user,) = of(happenings(told[-1]), "transcript", role="user")
        url = f"http://127.0.0.1:{line.port}"
        ended = run("call", url, "--task", user["task_id"], "--after", "0", "--wire", "a2a")
        followed_at = time.monotonic()
        rest = talking.stdout.read()
        heard_at = time.monotonic()
    assert user["text"] == "count to 10"
    assert ended.code == 0
    assert ended.out.split()[-1] == "10"
    agent = " ".join(one["text"] for one in of(happenings(rest), "transcript", role="agent"))
    assert agent.split() == [str(number) for number in range(1, 11)]
    assert heard_at - followed_at > 1, "the text was there before its sound was over"


def concatenated(tmp_path: Path, *pieces: Samples) -> str:
    """Return a file of those pieces."""
    path = tmp_path / "said.wav"
    write_wave(path, np.concatenate(pieces), RATE)
    return str(path)


def spoken(file: str) -> Samples:
    """Return an example."""
    return read_wave(AUDIO / file).samples


def pause(seconds: float) -> Samples:
    """Return silence."""
    return np.zeros(round(seconds * RATE), np.int16)


def voiced(samples: Samples, seconds: float) -> Samples:
    """Return the first part of what is loud in it: a short sound of a voice."""
    loud = int(np.argmax(np.abs(samples.astype(np.int32)) > 3_000))
    return samples[loud : loud + round(seconds * RATE)]


def audible(path: Path) -> list[tuple[float, float]]:
    """Return when a file is not silent: spans in seconds, of 20 ms steps."""
    samples = read_wave(path).samples
    steps = np.abs(samples[: len(samples) // 160 * 160].astype(np.int32)).reshape(-1, 160)
    loud = np.flatnonzero(steps.max(axis=1) > 200)
    spans: list[tuple[float, float]] = []
    for step in loud:
        at = float(step) * 0.02
        if spans and at - spans[-1][1] < 0.3:
            spans[-1] = (spans[-1][0], at + 0.02)
        else:
            spans.append((at, at + 0.02))
    return spans


def test_speech_interrupts_a_long_answer(run: Run, line: Server, tmp_path: Path) -> None:
    """Sound stops with the confirmed interruption, none of it comes late, and a turn follows."""
    said = concatenated(
        tmp_path,
        spoken("count-to-thirty.wav"),
        pause(3.0),
        spoken("what-time-is-it.wav"),
    )
    reply = tmp_path / "reply.wav"
    ended = run("talk", address(line), said, "--save", str(reply), "--json")
    found = happenings(ended.out)
    assert ended.code == 0
    first, second = of(found, "response.end")
    assert (first["interrupted"], first["reason"]) == (True, "barge_in")
    assert not second["interrupted"]
    (confirmed,) = of(found, "audio.speech_start", confirmed=True)[1:]
    (began,) = of(found, "audio.first")[:1]
    start, answer = of(found, "response.start")
    # The reply begins with its first sound; where it stands still, silence was heard.
    stopped_ms = (confirmed["t_ms"] - began["t_ms"]) + 20
    late = [
        span
        for span in audible(reply)
        if stopped_ms < span[0] * 1000 < answer["t_ms"] - began["t_ms"]
    ]
    assert late == []
    assert first["played_ms"] <= stopped_ms + 60
    assert re.fullmatch(r"It is \d\d:\d\d UTC\.", of(found, "transcript", role="agent")[-1]["text"])
    assert start["response_id"] != answer["response_id"]


def test_a_cough_resumes_the_answer(run: Run, line: Server, ten: Path, tmp_path: Path) -> None:
    """A sound too short to be speech holds the answer, which is then heard to its end."""
    count = read_wave(ten).samples
    said = concatenated(tmp_path, count, pause(1.5), voiced(count, 0.16), pause(1.0))
    reply = tmp_path / "reply.wav"
    ended = run("talk", address(line), said, "--save", str(reply), "--json")
    found = happenings(ended.out)
    assert ended.code == 0
    ends = of(found, "audio.speech_end")
    assert [one["discarded"] for one in ends] == [False, True]
    (end,) = of(found, "response.end")
    assert not end["interrupted"]
    summary = found[-1]
    assert summary["cleared_ms"] == 0
    assert summary["played_ms"] == summary["received_ms"]
