"""The part of the storage contract that is about the event log."""

# ruff: noqa: S101 - a contract is made of assertions

from __future__ import annotations

import asyncio
import random
from typing import Final

import pytest

from palaver.errors import (
    AlreadyClaimed,
    CursorExpired,
    IllegalEvent,
    InvalidId,
    NotFound,
    StaleWriter,
)
from palaver.model.content import Artifact, TextPart
from palaver.model.events import ArtifactUpdated
from palaver.storage.interfaces import Claim, LogStats, Storage
from palaver.testing.samples import chunks, created, finished

__all__ = ["HOSTILE_IDS", "LogContract"]

HOSTILE_IDS: Final = (
    "../../etc/passwd",
    "a/b\\c",
    'it\'s "quoted"',
    "100%_",
    "'; DROP TABLE tasks; --",
    "*?[a-z]",
    "{braces}:colon",
    "spaces inside ",
    "Ünïcödé 日本語",
    "🦜 parrot 👩‍👩‍👧",
    "e\u0301 is not \u00e9",
    "\u202ertl",
    "line\nbreak\ttab",
    "nul\0nul",
    "nul\0other",
    "x" * 256,
    "🦜" * 256,
)
"""Ids that are opaque text like any other."""

_TIMEOUT: Final = 10.0


class LogContract:
    """What every ``EventLog`` does. The fixtures are those of ``StorageContract``."""

    async def test_returns_what_was_appended(self, storage: Storage) -> None:
        """Events come back as they went in, in order, over any split into appends."""
        log = storage.events
        events = [created(), *chunks(1, 9), finished(10)]
        await log.append("t", 0, events[:1])
        await log.append("t", 1, events[1:7])
        await log.append("t", 7, events[7:])
        assert await log.read("t", 0) == events
        assert await log.head("t") == 11
        await log.append("t", 11, [finished(11)])
        assert await log.head("t") == 12

    async def test_survives_in_another_process(self, storage: Storage, other: Storage) -> None:
        """What one store acknowledged, every other store over the same data can read."""
        events = [created(), *chunks(1, 3)]
        await storage.events.append("t", 0, events[:2])
        assert await other.events.read("t", 0) == events[:2]
        await other.events.append("t", 2, events[2:])
        assert await storage.events.read("t", 0) == events
        assert await storage.events.head("t") == 4

    async def test_every_cursor_and_limit(self, storage: Storage) -> None:
        """A cursor may stand anywhere; fewer than ``limit`` events come only at the end."""
        log = storage.events
        events = [created(), *chunks(1, 11)]
        await log.append("t", 0, events[:5])
        await log.append("t", 5, events[5:6])
        await log.append("t", 6, events[6:])
        for after in range(-1, 14):
            for limit in (1, 2, 3, 7, 12, 300):
                expected = events[max(after, 0) :][:limit]
                assert await log.read("t", after, limit) == expected, (after, limit)
        assert await log.read("t", 10**30) == []

    async def test_unknown_task(self, storage: Storage) -> None:
        """A task that nobody created is not found, by its own words."""
        log = storage.events
        with pytest.raises(NotFound, match=r"^there is no task 'unknown'$"):
            await log.read("unknown", 0)
        with pytest.raises(NotFound, match=r"^there is no task 'unknown'$"):
            await log.head("unknown")
        with pytest.raises(NotFound):
            await log.wait("unknown", 0)
        with pytest.raises(StaleWriter):
            await log.append("unknown", 3, chunks(3))
        with pytest.raises(NotFound):
            await log.head("unknown")

    async def test_numbers_must_follow(self, storage: Storage) -> None:
        """An append without events, or with others than the next, is the caller's mistake."""
        log = storage.events
        with pytest.raises(IllegalEvent, match="at least one event"):
            await log.append("t", 0, [])
        with pytest.raises(IllegalEvent, match="events 2 to 3 cannot follow event 0"):
            await log.append("t", 0, chunks(1, 2))
        with pytest.raises(IllegalEvent, match="may claim a key"):
            await log.append("t", 1, chunks(1), claim=Claim("k", "d", 9.0))
        with pytest.raises(NotFound):
            await log.head("t")

    async def test_stale_writer_leaves_no_trace(self, storage: Storage) -> None:
        """Of two writers with one view the second is refused, with where the log stands."""
        log = storage.events
        await log.append("t", 0, [created(), *chunks(1, 2)])
        for expected in (0, 1, 2, 4):
            stale = [created()] if expected == 0 else chunks(expected, 5, "stale ")
            with pytest.raises(StaleWriter) as caught:
                await log.append("t", expected, stale)
            assert (caught.value.expected_seq, caught.value.actual_seq) == (expected, 3)
        assert await log.read("t", 0) == [created(), *chunks(1, 2)]

    async def test_racing_writers(self, storage: Storage, other: Storage) -> None:
        """Each number is given once, however many writers run for it."""
        await storage.events.append("t", 0, [created()])

        async def write(log: Storage, name: str, rounds: int) -> list[str]:
            won: list[str] = []
            for _ in range(rounds):
                head = await log.events.head("t")
                text = f"{name} {head} "
                try:
                    await log.events.append("t", head, chunks(head, 1, text))
                except StaleWriter:
                    continue
                won.append(f"{text}{head + 1}")
            return won

        writers = [
            write(store, f"{number}", 10) for number in range(4) for store in (storage, other)
        ]
        won = [text for texts in await asyncio.gather(*writers) for text in texts]
        stored = await storage.events.read("t", 1, 1000)
        texts = [event.artifact.text for event in stored if isinstance(event, ArtifactUpdated)]
        assert [event.seq for event in stored] == list(range(2, len(stored) + 2))
        assert sorted(texts) == sorted(won)

    async def test_many_appends_at_once(self, storage: Storage) -> None:
        """Concurrent appends to many tasks do not disturb each other; stale ones spoil nothing."""
        source = random.Random(7)  # noqa: S311 - a test that repeats itself
        log = storage.events

        async def stream(task_id: str) -> int:
            await log.append(task_id, 0, [created()])
            head = 1
            for _ in range(6):
                count = source.randint(1, 20)
                mine = log.append(task_id, head, chunks(head, count))
                theirs = log.append(task_id, head, chunks(head, 1, "stale "))
                mine_result, their_result = await asyncio.gather(
                    mine, theirs, return_exceptions=True
                )
                assert mine_result is None
                assert isinstance(their_result, StaleWriter)
                head += count
            return head

        names = [f"t-{number}" for number in range(40)]
        heads = await asyncio.gather(*(stream(name) for name in names))
        for name, head in zip(names, heads, strict=True):
            assert await log.read(name, 1, 1000) == chunks(1, head - 1)
        assert await log.stats() == LogStats(tasks=40, open_tasks=40, events=sum(heads))

    @pytest.mark.parametrize("task_id", HOSTILE_IDS)
    async def test_hostile_ids(self, storage: Storage, other: Storage, task_id: str) -> None:
        """An id is opaque text: it names exactly one task, whatever it looks like."""
        await storage.events.append(task_id, 0, [created()], claim=Claim(task_id, task_id, 9.0))
        await storage.events.append("neighbour", 0, [created(), *chunks(1)])
        for store in (storage, other):
            assert await store.events.head(task_id) == 1
            assert await store.events.read(task_id, 0) == [created()]
            assert await store.events.claimed(task_id, 1.0) == (task_id, task_id)
        await storage.events.append(task_id, 1, [finished(1, at=5.0)])
        assert await other.events.head(task_id) == 2
        await storage.states.save(task_id, 2, {"id": task_id})
        assert await other.states.load(task_id) == {"id": task_id}
        assert await storage.events.prune(6.0) == [task_id]
        assert await storage.events.forget(6.0) == [task_id]
        for look in (storage.events.head, storage.states.load):
            with pytest.raises(NotFound):
                await look(task_id)
        assert await storage.events.head("neighbour") == 2

    async def test_lone_surrogates_are_refused(self, storage: Storage) -> None:
        """What is no Unicode cannot become an id; asked for, it is not found."""
        bad = "lone \ud800"
        log = storage.events
        with pytest.raises(InvalidId, match="lone surrogate at position 5"):
            await log.append(bad, 0, [created()])
        with pytest.raises(InvalidId):
            await log.append("t", 0, [created()], claim=Claim(bad, "d", 9.0))
        with pytest.raises(InvalidId):
            await log.append("t", 0, [created()], worker=bad)
        with pytest.raises(InvalidId):
            await storage.states.save(bad, 0, {})
        with pytest.raises(InvalidId):
            await storage.credentials.put(bad, b"")
        for look in (log.head, storage.states.load, storage.states.delete, storage.credentials.get):
            with pytest.raises(NotFound):
                await look(bad)
        assert await log.claimed(bad, 1.0) is None
        assert await storage.states.list_versions(bad) == []
        with pytest.raises(NotFound):
            await storage.outbox.retry(bad, 1.0)
        with pytest.raises(NotFound):
            await log.head("t")

    async def test_watch_never_loses_the_last_head(self, storage: Storage, other: Storage) -> None:
        """After the last append, by whomever, every watcher is told of the head it made."""
        reached = [asyncio.Event() for _ in range(3)]

        def watcher(number: int) -> None:
            def on_append(head: int) -> None:
                if head == 41:
                    reached[number].set()

            (storage if number else other).events.watch("t", on_append)

        for number in range(3):
            watcher(number)
        await storage.events.append("t", 0, [created()])
        for head in range(1, 41):
            store = storage if head % 3 else other
            await store.events.append("t", head, chunks(head))
        async with asyncio.timeout(_TIMEOUT):
            for event in reached:
                await event.wait()

    async def test_unwatch(self, storage: Storage) -> None:
        """A watch that ended hears nothing; ending it twice, or from within, does no harm."""
        heard: list[tuple[str, int]] = []
        first = storage.events.watch("t", lambda head: heard.append(("first", head)))

        def once(head: int) -> None:
            heard.append(("second", head))
            second()

        second = storage.events.watch("t", once)
        await storage.events.append("t", 0, [created()])
        first()
        first()
        await storage.events.append("t", 1, chunks(1))
        # A head may be told twice, but not to those who left before.
        assert set(heard) == {("first", 1), ("second", 1)}
        assert heard.count(("second", 1)) == 1

    async def test_wait(self, storage: Storage, other: Storage) -> None:
        """Waiting ends at once when the event is there, else with the append that brings it."""
        await storage.events.append("t", 0, [created()])
        async with asyncio.timeout(_TIMEOUT):
            await storage.events.wait("t", 0)
            waiting = [asyncio.ensure_future(s.events.wait("t", 2)) for s in (storage, other)]
            await storage.events.append("t", 1, chunks(1))
            await storage.events.append("t", 2, chunks(2))
            await asyncio.gather(*waiting)
            assert await other.events.read("t", 2) == chunks(2)

    async def test_a_reader_follows_a_writer(self, storage: Storage, other: Storage) -> None:
        """Read, wait, read again: every event once, in order, on both ends of the data."""
        count = 60

        async def follow(store: Storage) -> list[int]:
            seen: list[int] = []
            while len(seen) < count:
                await store.events.wait("t", len(seen))
                seen += [event.seq for event in await store.events.read("t", len(seen), 7)]
            return seen

        await storage.events.append("t", 0, [created()])
        async with asyncio.timeout(_TIMEOUT):
            followers = [asyncio.ensure_future(follow(store)) for store in (storage, other)]
            for head in range(1, count):
                await storage.events.append("t", head, chunks(head))
            for seen in await asyncio.gather(*followers):
                assert seen == list(range(1, count + 1))

    async def test_one_claim_wins(self, storage: Storage, other: Storage) -> None:
        """Of many creations with one key exactly one happens, and the others learn of it."""

        async def create(number: int) -> AlreadyClaimed | str:
            store = other if number % 3 == 0 else storage
            claim = Claim("key", f"digest-{number}", expires_at=50.0)
            try:
                await store.events.append(f"t-{number}", 0, [created()], claim=claim)
            except AlreadyClaimed as error:
                return error
            return f"t-{number}"

        results = await asyncio.gather(*(create(number) for number in range(24)))
        [winner] = [result for result in results if isinstance(result, str)]
        digest = f"digest-{winner.removeprefix('t-')}"
        for result in results:
            if isinstance(result, AlreadyClaimed):
                assert (result.key, result.task_id, result.digest) == ("key", winner, digest)
        assert await storage.events.claimed("key", 49.0) == (winner, digest)
        assert (await storage.events.stats()).tasks == 1

    async def test_claims_end(self, storage: Storage) -> None:
        """A claim is void from ``expires_at`` on; then the key can make another task."""
        log = storage.events
        await log.append("t-1", 0, [created(at=1.0)], claim=Claim("key", "d-1", 10.0))
        assert await log.claimed("key", 9.9) == ("t-1", "d-1")
        assert await log.claimed("key", 10.0) is None
        assert await log.claimed("other", 1.0) is None
        with pytest.raises(AlreadyClaimed):
            await log.append("t-2", 0, [created(at=9.9)], claim=Claim("key", "d-2", 20.0))
        await log.append("t-2", 0, [created(at=10.0)], claim=Claim("key", "d-2", 20.0))
        assert await log.claimed("key", 10.0) == ("t-2", "d-2")
        assert await log.prune(finished_before=21.0) == []
        assert await log.claimed("key", 10.0) is None

    async def test_a_refused_append_claims_nothing(self, storage: Storage) -> None:
        """The claim commits with the events, or neither does."""
        await storage.events.append("t", 0, [created()])
        with pytest.raises(StaleWriter):
            await storage.events.append("t", 0, [created()], claim=Claim("key", "d", 10.0))
        assert await storage.events.claimed("key", 1.0) is None

    async def test_prune(self, storage: Storage, other: Storage) -> None:
        """Events go only where the snapshot stands at the head; cursors behind it then expire."""
        log = storage.events
        for number, (end, version) in enumerate([(10.0, 4), (11.0, 3), (12.0, None), (30.0, 4)]):
            task_id = f"t-{number}"
            await log.append(task_id, 0, [created(), *chunks(1, 2), finished(3, at=end)])
            if version is not None:
                await storage.states.save(task_id, version, {"at": version})
        await log.append("open", 0, [created()])
        await storage.states.save("open", 1, {})
        assert await log.finished(before=20.0) == ["t-0", "t-1", "t-2"]
        assert await log.finished(before=20.0, limit=2) == ["t-0", "t-1"]
        assert await log.prune(finished_before=20.0) == ["t-0"]
        assert await log.prune(finished_before=20.0) == []
        assert await log.finished(before=20.0) == ["t-1", "t-2"]
        for store in (storage, other):
            with pytest.raises(CursorExpired) as caught:
                await store.events.read("t-0", 2)
            assert (caught.value.task_id, caught.value.after, caught.value.head) == ("t-0", 2, 4)
            assert await store.events.read("t-0", 4) == []
            assert await store.events.head("t-0") == 4
            assert len(await store.events.read("t-1", 0)) == 4
        with pytest.raises(StaleWriter):
            await log.append("t-0", 0, [created()])
        assert await log.stats() == LogStats(tasks=5, open_tasks=1, events=13)

    async def test_prune_takes_turns(self, storage: Storage) -> None:
        """``limit`` bounds one call; the oldest go first, and the rest with the next."""
        for number in range(5):
            await storage.events.append(f"t-{number}", 0, [created(), finished(1, at=9.0 - number)])
            await storage.states.save(f"t-{number}", 2, {})
        assert await storage.events.prune(100.0, limit=2) == ["t-4", "t-3"]
        assert await storage.events.prune(100.0, limit=2) == ["t-2", "t-1"]
        assert await storage.events.prune(100.0, limit=2) == ["t-0"]

    async def test_forget(self, storage: Storage, other: Storage) -> None:
        """A forgotten task is gone with its snapshots and claim, and its id can be used again."""
        log = storage.events
        for number in range(3):
            events = [created(), *chunks(1, 2), finished(3, at=10.0 + number)]
            claim = Claim(f"key-{number}", "d", 1000.0)
            await log.append(f"t-{number}", 0, events, claim=claim)
            await storage.states.save(f"t-{number}", 4, {"n": number})
        assert await other.events.head("t-0") == 4
        assert await log.forget(finished_before=12.0, limit=1) == ["t-0"]
        assert await log.forget(finished_before=12.0) == ["t-1"]
        for store in (storage, other):
            with pytest.raises(NotFound):
                await store.events.read("t-0", 0)
            assert await store.states.list_versions("t-0") == []
            assert await store.events.claimed("key-0", 1.0) is None
            assert await store.events.claimed("key-2", 1.0) == ("t-2", "d")
        await other.events.append("t-0", 0, [created(at=50.0)])
        assert await log.read("t-0", 0) == [created(at=50.0)]
        assert await log.read("t-2", 0, 1) == [created()]

    async def test_large_events(self, storage: Storage) -> None:
        """A text of a megabyte comes back whole."""
        text = "palavra 🦜 " * 100_000
        event = ArtifactUpdated(
            seq=2, at=2.0, artifact=Artifact(id="a", parts=(TextPart(text),)), index=0
        )
        await storage.events.append("t", 0, [created(), event])
        assert await storage.events.read("t", 1) == [event]
