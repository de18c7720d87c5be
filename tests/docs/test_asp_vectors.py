"""The test vectors of endpointing are what our machine decides, and what §13 says."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pytest

from palaver.protocols.asp.config import VADConfig
from palaver.speech.endpointing import Endpointer
from palaver.speech.heard import Heard, SpeechConfirmed, SpeechEnded, SpeechStarted
from tests.docs.asp_vectors import CASES, VECTORS, told
from tests.docs.documents import ROOT
from tests.speech.endpointing_rules import by_the_rules

_PATH: Final = "schemas/vectors/asp_endpointing.json"
_FILE: Final = json.loads((ROOT / _PATH).read_bytes())

each_case = pytest.mark.parametrize("case", _FILE["cases"], ids=lambda case: case["name"])


def told_of(case: dict[str, Any]) -> list[Heard]:
    """Return the events that a case says, without their audio."""
    found: list[Heard] = []
    for row in case["events"]:
        match row:
            case {"event": "started", "start_ms": start, "prefix_ms": prefix, "at_ms": at}:
                found.append(SpeechStarted(start, prefix, at))
            case {"event": "confirmed", "start_ms": start, "prefix_ms": prefix, "at_ms": at}:
                found.append(SpeechConfirmed(start, prefix, at))
            case {"event": "ended", "start_ms": start, "end_ms": end, "at_ms": at}:
                found.append(SpeechEnded(start, end, at, row["reason"]))
    return found


def test_the_vectors_are_those_of_the_machine() -> None:
    """They are written from it, never by hand."""
    assert (ROOT / _PATH).read_bytes() == VECTORS[_PATH], "run: python -m tests.docs.generated"


@pytest.mark.parametrize("name", ["ASP_SPECIFICATION.md", "ASP_SPECIFICATION.pt-BR.md"])
def test_the_page_has_what_is_fixed(name: str) -> None:
    """The values that nobody negotiates are those of the machine, on the page as in the file."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`: [^|]+ \| n[oã]o? \| ([\d.]+) \|$", text, re.MULTILINE)
    assert {key: float(value) for key, value in rows} == _FILE["fixed"]


@each_case
def test_a_machine_that_reads_the_file_decides_so(case: dict[str, Any]) -> None:
    """As another house would try its own: probabilities in, events out."""
    vad = VADConfig(**case["vad"])
    machine = Endpointer(vad, case["frame_duration_ms"])
    events: list[Heard] = []
    for step in case["steps"]:
        match step:
            case {"probability": probability, "frames": frames}:
                for _ in range(frames):
                    events += machine.hear(probability)
            case {"missing_frames": frames}:
                events += machine.skip(frames)
            case {"commit": True}:
                events += machine.commit()
            case {"vad": values}:
                vad = vad.model_copy(update=values)
                machine.switch(vad)
            case _:
                raise AssertionError(step)
    assert events == told_of(case)


@pytest.mark.parametrize(
    "case",
    [
        one
        for one in _FILE["cases"]
        if one["vad"]["enabled"] and all("probability" in step for step in one["steps"])
    ],
    ids=lambda case: case["name"],
)
def test_the_rules_say_so(case: dict[str, Any]) -> None:
    """Where there are only frames, the rules of §13, written out, agree."""
    frames = [step["probability"] for step in case["steps"] for _ in range(step["frames"])]
    vad = VADConfig(**case["vad"])
    assert by_the_rules(frames, vad, case["frame_duration_ms"]) == told_of(case)


@each_case
def test_the_audio_of_an_utterance_is_where_it_says(case: dict[str, Any]) -> None:
    """From the prefix on, to 200 ms after the end or to the decision, whichever is first."""
    values, frame_ms, steps = CASES[case["name"]]
    found = [audio for event, audio in told(values, frame_ms, steps) if audio]
    rows = [row for row in case["events"] if "audio_ms" in row]
    assert len(found) == len(rows)
    for audio, row in zip(found, rows, strict=True):
        begin, end = row["audio_ms"]
        samples = np.frombuffer(audio, "<i2")
        assert samples.size == (end - begin) * 8
        # Each sample says of which millisecond it is; what never came is 0.
        times = np.repeat(np.arange(begin, end), 8)
        came = samples != 0
        assert np.array_equal(samples[came], times[came])
        assert end <= row["at_ms"]
        assert end in {row["end_ms"] + 200, row["at_ms"]}


def test_every_kind_of_end_and_step_is_there() -> None:
    """Each reason, each step, each length of frames, and what lies between them."""
    cases = _FILE["cases"]
    steps = {key for case in cases for step in case["steps"] for key in step}
    assert steps == {"probability", "frames", "missing_frames", "commit", "vad"}
    reasons = {row.get("reason") for case in cases for row in case["events"]} - {None}
    assert reasons == {"silence", "too_short", "max_duration", "committed"}
    assert {case["frame_duration_ms"] for case in cases} == {10, 20, 30}
    assert all(case["events"] for case in cases)
    for case in cases:
        assert all(one["at_ms"] <= other["at_ms"] for one, other in pairwise(case["events"]))
