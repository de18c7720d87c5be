from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.model.events import TaskEvent
from palaver.storage.recent import Limits, Recent
from palaver.testing.samples import chunks


def test_serves_what_is_kept() -> None:
    """Events behind any cursor in the tail come from here; those before it do not."""
    recent = Recent()
    recent.extend("t", 3, chunks(3, 2), 10, now=0.0)
    recent.extend("t", 5, chunks(5, 3), 10, now=0.1)
    assert recent.read("t", 2, 9, now=0.2) is None
    assert recent.read("t", 3, 9, now=0.2) == chunks(3, 5)
    assert recent.read("t", 4, 2, now=0.2) == chunks(4, 2)
    assert recent.read("t", 8, 9, now=0.2) == []
    assert recent.read("u", 0, 9, now=0.2) is None
    assert (recent.head("t", 0.2), recent.head("u", 0.2)) == (8, None)


def test_the_end_is_trusted_for_a_time() -> None:
    """A page that may be short is asked of the store again once nobody confirmed the end."""
    recent = Recent(trust=1.0)
    recent.extend("t", 0, chunks(0, 4), 10, now=5.0)
    assert recent.read("t", 0, 9, now=5.9) == chunks(0, 4)
    assert recent.read("t", 0, 9, now=6.0) is None
    assert recent.head("t", 6.0) is None
    assert recent.read("t", 0, 4, now=60.0) == chunks(0, 4)
    recent.extend("t", 4, chunks(4), 10, now=60.0)
    assert recent.head("t", 60.5) == 5
    recent.distrust(60.5)
    assert recent.head("t", 60.6) is None


def test_another_process_moves_the_end() -> None:
    """From then on the end is asked of the store, until this process has written behind it."""
    recent = Recent()
    recent.extend("t", 0, chunks(0, 2), 10, now=0.0)
    recent.notice("t", 3)
    assert recent.head("t", 0.1) is None
    assert recent.read("t", 1, 2, now=0.1) is None
    assert recent.read("t", 0, 2, now=0.1) == chunks(0, 2)
    recent.extend("t", 3, chunks(3, 2), 10, now=0.2)
    assert recent.head("t", 0.3) == 5
    assert recent.read("t", 2, 2, now=0.3) is None


def test_a_word_may_come_before_our_own_append() -> None:
    """A notice that overtakes the way back of our own, older append still counts."""
    recent = Recent()
    recent.notice("t", 4)
    recent.extend("t", 1, chunks(1, 2), 10, now=0.0)
    assert recent.head("t", 0.1) is None
    for number in range(5000):
        recent.notice(f"other-{number}", 7)
    recent.extend("other-4999", 1, chunks(1, 2), 10, now=0.0)
    assert recent.head("other-4999", 0.1) is None


def test_what_was_removed_is_dropped() -> None:
    """A task whose events another process removed is asked of the store."""
    recent = Recent()
    recent.extend("t", 0, chunks(0, 2), 10, now=0.0)
    recent.notice("t", 0)
    recent.notice("unknown", 0)
    assert recent.read("t", 0, 1, now=0.0) is None


def test_is_bounded() -> None:
    """The tasks that were not written longest go first; a long log loses its older half."""
    recent = Recent(Limits(tasks=3, events=20, size=100, events_per_task=8))
    for name in "abc":
        recent.extend(name, 0, chunks(0, 2), 1, now=0.0)
    recent.extend("a", 2, chunks(2, 2), 1, now=0.0)
    recent.extend("d", 0, chunks(0, 2), 1, now=0.0)
    assert [recent.head(name, 0.0) for name in "abcd"] == [4, None, 2, 2]
    recent.extend("a", 4, chunks(4, 6), 1, now=0.0)
    assert recent.read("a", 4, 1, now=0.0) is None
    assert recent.read("a", 5, 9, now=0.0) == chunks(5, 5)
    recent.extend("e", 0, chunks(0), 99, now=0.0)
    assert [recent.head(name, 0.0) for name in "acde"] == [None, None, None, 1]
    recent.extend("f", 0, chunks(0), 101, now=0.0)
    assert [recent.head(name, 0.0) for name in "ef"] == [None, None]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]), st.integers(1, 5), st.booleans(), st.integers(0, 12)
        ),
        max_size=40,
    )
)
def test_never_says_what_is_not_so(history: list[tuple[str, int, bool, int]]) -> None:
    """Whoever writes: what is served is what stands in the log, and its end is its end."""
    recent = Recent(Limits(tasks=2, events=30, size=60, events_per_task=12))
    logs: dict[str, list[TaskEvent]] = {"a": [], "b": [], "c": []}
    for task_id, count, ours, after in history:
        log = logs[task_id]
        events = chunks(len(log), count)
        if ours:
            recent.extend(task_id, len(log), events, count, now=0.0)
        log += events
        if not ours:
            recent.notice(task_id, len(log))
        served = recent.read(task_id, after, 4, now=0.5)
        assert served is None or served == log[after : after + 4]
        assert recent.head(task_id, 0.5) in (None, len(log))
