"""The ledger of a reply's sound: the pace, what was heard, and reports that cannot be true."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.speech.playback import PlaybackLedger

RATE = 8000
SECOND = RATE


def ledger_with(seconds: float, text: str = "one two three four", **options: int) -> PlaybackLedger:
    """Return a complete ledger with one text of that length."""
    ledger = PlaybackLedger(RATE, 20, **options)
    ledger.queue(text, round(seconds * RATE))
    ledger.complete()
    return ledger


def send_due(ledger: PlaybackLedger, now: float) -> int:
    """Send what is due, and return how many frames that is."""
    frames = ledger.due(now)
    ledger.sent(frames, now)
    return frames


def send_until(ledger: PlaybackLedger, start: float, end: float) -> float:
    """Send as a pipeline does, from ``start`` to ``end``; return when it looked last."""
    now = start
    while True:
        send_due(ledger, now)
        due = ledger.next_due(now)
        if due is None or due > end:
            return now
        now = due


# --- the pace -------------------------------------------------------------------------------


def test_the_lead_goes_out_at_once() -> None:
    """At first the client gets 400 ms, then a frame for each that it has played."""
    ledger = ledger_with(2.0)
    assert send_due(ledger, 10.0) == 20
    assert ledger.due(10.0) == 0
    assert ledger.next_due(10.0) == pytest.approx(10.02)
    assert ledger.due(10.019) == 0
    assert send_due(ledger, 10.02) == 1
    assert send_due(ledger, 10.1) == 4


def test_no_burst_after_a_stall() -> None:
    """Whoever looks again after seconds may send the lead, not what was missed."""
    ledger = ledger_with(10.0)
    send_due(ledger, 0.0)
    assert send_due(ledger, 5.0) == 20
    assert ledger.played_ms(5.0) == 400


def test_sound_that_comes_late_is_no_reason_for_a_burst() -> None:
    """A synthesiser that stalls makes a gap; then the client gets the lead again."""
    ledger = PlaybackLedger(RATE, 20)
    ledger.queue("one", SECOND // 5)
    assert send_due(ledger, 0.0) == 10
    assert ledger.next_due(0.0) is None  # whoever adds sound looks again
    ledger.extend(10 * SECOND)
    assert send_due(ledger, 3.0) == 20


def test_frames_wait_until_they_are_full() -> None:
    """Only whole frames go out; at the end the last one is filled with silence."""
    ledger = PlaybackLedger(RATE, 20)
    ledger.queue("a", 250)
    assert send_due(ledger, 0.0) == 1
    ledger.queue("b", 100)
    assert send_due(ledger, 0.0) == 1
    assert ledger.due(0.0) == 0
    ledger.complete()
    assert send_due(ledger, 0.0) == 1
    assert ledger.sent_ms == 60
    assert ledger.unsent_ms == 0
    assert ledger.played_ms(9.0) == 350 * 1000 // RATE  # silence is not heard


@pytest.mark.parametrize(
    ("rate_hz", "frame_ms", "lead_ms", "text"),
    [
        (8000, 0, 400, "frames of 0 ms at 8000 Hz are no whole samples"),
        (0, 20, 400, "frames of 20 ms at 0 Hz are no whole samples"),
        (11_025, 10, 400, "frames of 10 ms at 11025 Hz are no whole samples"),
        (8000, 20, 19, "a lead of 19 ms is less than a frame of 20 ms"),
    ],
)
def test_what_cannot_be_paced(rate_hz: int, frame_ms: int, lead_ms: int, text: str) -> None:
    """A ledger says why it cannot be."""
    with pytest.raises(ValueError, match=f"^{text}$"):
        PlaybackLedger(rate_hz, frame_ms, lead_ms)


def test_misuse() -> None:
    """What the pipeline cannot mean is an error, and changes nothing."""
    ledger = PlaybackLedger(RATE, 20)
    with pytest.raises(ValueError, match=r"^sound belongs to a text: queue one first$"):
        ledger.extend(1)
    with pytest.raises(ValueError, match=r"^-1 samples are no sound$"):
        ledger.queue("a", -1)
    ledger.queue("a", 320)
    for frames in (-1, 3):
        with pytest.raises(ValueError, match=f"^{frames} frames cannot be sent: there are 2$"):
            ledger.sent(frames, 0.0)
    ledger.complete()
    with pytest.raises(ValueError, match=r"^the reply is complete: nothing can be added$"):
        ledger.queue("b", 1)
    assert (ledger.sent_ms, ledger.unsent_ms) == (0, 40)


# --- holding --------------------------------------------------------------------------------


def test_a_held_reply_sends_nothing() -> None:
    """A client that does not stand still plays what it has; then it gets the lead again."""
    ledger = ledger_with(5.0)
    send_due(ledger, 0.0)
    ledger.hold(0.1)
    assert (ledger.due(1.0), ledger.next_due(1.0)) == (0, None)
    assert ledger.played_ms(1.0) == 400
    ledger.resume(2.0)
    assert send_due(ledger, 2.0) == 20


def test_a_paused_client_stands_still() -> None:
    """A client that pauses as well hears nothing meanwhile, and then needs only what it lacks."""
    ledger = ledger_with(5.0)
    send_due(ledger, 0.0)
    ledger.hold(0.1, paused=True)
    assert ledger.played_ms(1.0) == 100
    ledger.resume(2.0)
    assert send_due(ledger, 2.0) == 5
    assert ledger.played_ms(2.1) == 200


def test_a_paused_end_is_no_end() -> None:
    """All was sent, but the client stands still: that is not over, and time changes nothing."""
    ledger = ledger_with(0.2)
    send_due(ledger, 0.0)
    ledger.hold(0.1, paused=True)
    assert not ledger.finished(60.0)
    assert ledger.next_due(60.0) is None
    ledger.resume(60.0)
    assert ledger.next_due(60.0) == pytest.approx(60.1)


def test_cleared_is_the_end() -> None:
    """What was thrown away is not sent, and not heard later."""
    ledger = ledger_with(5.0)
    send_due(ledger, 0.0)
    ledger.cleared(0.25)
    assert ledger.due(0.3) == 0
    assert ledger.next_due(0.3) is None
    assert ledger.finished(0.3)
    assert ledger.played_ms(9.0) == 250


# --- the end --------------------------------------------------------------------------------


def test_the_end_is_when_the_last_sound_was_played() -> None:
    """Not when it was sent."""
    ledger = ledger_with(1.0)
    send_until(ledger, 0.0, 0.7)
    assert ledger.sent_ms == 1000
    assert ledger.next_due(0.7) == pytest.approx(1.0)
    assert not ledger.finished(0.99)
    assert ledger.finished(1.0)
    assert ledger.next_due(1.0) is None


def test_the_client_may_say_when_it_ends() -> None:
    """A client that reports is waited for, but not for ever."""
    ledger = ledger_with(0.2, report_wait_ms=500)
    send_due(ledger, 0.0)
    assert not ledger.finished(0.3)
    assert ledger.next_due(0.3) == pytest.approx(0.7)
    assert ledger.finished(0.7)
    other = ledger_with(0.2, report_wait_ms=500)
    send_due(other, 0.0)
    other.report_played(200, 0.25)
    assert other.finished(0.25)


def test_an_incomplete_reply_does_not_end() -> None:
    """As long as more may be made, silence is no end; an empty reply ends at once."""
    ledger = PlaybackLedger(RATE, 20)
    assert not ledger.finished(0.0)
    ledger.queue("a", 160)
    send_due(ledger, 0.0)
    assert not ledger.finished(9.0)
    ledger.complete()
    assert ledger.finished(9.0)
    empty = PlaybackLedger(RATE, 20)
    empty.complete()
    assert empty.finished(5.0)


# --- reports --------------------------------------------------------------------------------


def test_a_report_is_the_truth() -> None:
    """It takes the place of the estimate, which goes on from there."""
    ledger = ledger_with(5.0)
    send_until(ledger, 0.0, 1.0)
    assert ledger.played_ms(1.0) == 1000
    ledger.report_played(900, 1.0)
    assert ledger.played_ms(1.0) == 900
    assert ledger.played_ms(1.05) == 950


def test_a_cleared_report_is_final() -> None:
    """What the client says when it throws the rest away stays, whatever was estimated."""
    ledger = ledger_with(5.0)
    send_until(ledger, 0.0, 1.0)
    ledger.report_cleared(640, 1.0)
    assert ledger.played_ms(3.0) == 640
    assert ledger.finished(1.0)


def test_a_report_may_follow_our_own_clearing() -> None:
    """We cut it, and the client says later how much it had played."""
    ledger = ledger_with(5.0)
    send_until(ledger, 0.0, 1.0)
    ledger.cleared(1.0)
    ledger.report_cleared(870, 1.2)
    assert ledger.played_ms(1.2) == 870


@pytest.mark.parametrize(
    ("reports", "played_ms"),
    [
        ([-5], 0),
        ([math.nan], 400),
        ([math.inf], 400),
        ([-math.inf], 0),
        ([10**9], 400),
        ([300, 100], 300),
        ([300, 401], 400),
    ],
)
def test_bad_reports_are_bounded(reports: list[float], played_ms: int) -> None:
    """Never more than was sent, never less than was reported before."""
    ledger = ledger_with(5.0)
    send_due(ledger, 0.0)
    ledger.played_ms(0.4)
    for report in reports:
        ledger.report_played(report, 0.4)
    assert ledger.played_ms(0.4) == played_ms


def test_reports_do_not_move_the_pace() -> None:
    """A client that says that it hears nothing, or all, gets its sound in time."""
    for report in (0, 10**6):
        ledger = ledger_with(5.0)
        send_due(ledger, 0.0)
        for number in range(1, 50):
            ledger.report_played(report, number * 0.02)
            assert send_due(ledger, number * 0.02) == 1


# --- text -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("played_ms", "text"),
    [
        (0, ""),
        (443, ""),
        (445, "Good"),
        (999, "Good"),
        (1000, "Good day."),
        (1100, "Good day."),
        (1500, "Good day. It is"),
        (1999, "Good day. It is"),
        (2000, "Good day. It is noon."),
    ],
)
def test_heard_text(played_ms: int, text: str) -> None:
    """Whole texts where their sound was heard, and the whole words of the one that was cut."""
    ledger = PlaybackLedger(RATE, 20)
    ledger.queue("Good day. ", SECOND // 2)
    ledger.extend(SECOND // 2)
    ledger.queue(" It is noon.", SECOND)
    ledger.complete()
    send_until(ledger, 0.0, 3.0)
    ledger.report_cleared(played_ms, 3.0)
    assert ledger.heard_text(3.0) == text


def test_a_text_that_is_still_made_is_not_taken_for_heard() -> None:
    """Of a sentence of which little sound is there yet, little was heard."""
    ledger = PlaybackLedger(RATE, 20)
    ledger.queue("This is a sentence that takes some seconds to say", SECOND // 2)
    send_due(ledger, 0.0)
    assert ledger.heard_text(1.0) == "This"
    ledger.extend(SECOND)
    ledger.complete()
    send_until(ledger, 1.0, 3.0)
    assert ledger.heard_text(3.0).endswith("to say")


def test_a_text_without_sound_is_passed() -> None:
    """What the synthesiser makes no sound of is heard together with what comes before it."""
    ledger = PlaybackLedger(RATE, 20)
    ledger.queue("One.", 160)
    ledger.queue("-")
    ledger.queue("Two.", 160)
    ledger.complete()
    ledger.sent(1, 0.0)
    assert ledger.heard_text(1.0) == "One. -"


# --- whatever happens -----------------------------------------------------------------------

texts = st.lists(
    st.tuples(st.text(alphabet="ab .", max_size=30), st.lists(st.integers(0, 4000), max_size=4)),
    max_size=6,
)
rates = st.sampled_from([8000, 16_000, 24_000, 48_000])


@given(
    rate_hz=rates,
    frame_ms=st.sampled_from([10, 20, 30]),
    lead_ms=st.integers(30, 1000),
    samples=st.integers(0, 100_000),
    start=st.floats(0, 1e9),
)
def test_all_is_sent_in_its_time(
    rate_hz: int, frame_ms: int, lead_ms: int, samples: int, start: float
) -> None:
    """Looking again whenever it is time sends everything, without a gap, and then ends."""
    ledger = PlaybackLedger(rate_hz, frame_ms, lead_ms)
    ledger.queue("text", samples)
    ledger.complete()
    frame = rate_hz * frame_ms // 1000
    now, looks = start, 0
    while True:
        frames = send_due(ledger, now)
        looks += 1
        due = ledger.next_due(now)
        if due is None:
            break
        played = (now - start) * rate_hz
        assert ledger.sent_ms <= (played / rate_hz) * 1000 + lead_ms + 0.1
        assert ledger.sent_ms >= min(samples * 1000 // rate_hz, played * 1000 / rate_hz - 0.1)
        assert frames <= lead_ms // frame_ms
        now = due
    frames = -(-samples // frame)
    assert looks <= frames + 3
    assert ledger.finished(now)
    assert now - start == pytest.approx(frames * frame / rate_hz, abs=1e-3)
    assert ledger.played_ms(now) == samples * 1000 // rate_hz


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["send", "hold", "pause", "resume", "played", "sound", "text", "clear", "cut"]
        ),
        st.floats(0, 2),
        st.integers(-1000, 10_000),
    ),
    max_size=60,
)


@given(steps=steps)
def test_what_is_known_is_possible(steps: list[tuple[str, float, int]]) -> None:
    """Whatever happens, no more is heard than was sent and than time allows.

    Nothing is unheard again but by a report, and what was heard is a beginning of what was queued.
    """
    ledger = PlaybackLedger(RATE, 20)
    said: list[str] = []
    now, sent_at, before, over = 100.0, None, 0, False
    for what, seconds, number in steps:
        now += seconds
        if what == "send":
            frames = send_due(ledger, now)
            assert frames <= 20
            assert frames == 0 or not over
            sent_at = now if sent_at is None and frames else sent_at
        elif what == "text":
            said.append(f"text {len(said)} of some words.")
            ledger.queue(said[-1], abs(number))
        elif what == "sound" and said:
            ledger.extend(abs(number))
        elif what == "played":
            ledger.report_played(number, now)
            before = 0
        elif what in {"clear", "cut"}:
            over = True
            if what == "cut":
                ledger.report_cleared(number, now)
                before = 0
            else:
                ledger.cleared(now)
        elif what == "resume":
            ledger.resume(now)
        elif what in {"hold", "pause"}:
            ledger.hold(now, paused=what == "pause")
        played_ms = ledger.played_ms(now)
        assert before <= played_ms <= ledger.sent_ms
        if not any(step[0] in {"played", "cut"} for step in steps):
            assert played_ms <= (0 if sent_at is None else (now - sent_at) * 1000 + 1)
        before = played_ms
        assert " ".join(said).startswith(ledger.heard_text(now))
        due = ledger.next_due(now)
        assert due is None or due >= now
        assert ledger.finished(now) == over
