"""Who wants to know when a task's log grows."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Watchers"]


class _Watch:
    """One callback; calling the watch ends it. There is one for every open stream: it is small."""

    __slots__ = ("on_append", "task_id", "watchers")

    def __init__(self, watchers: Watchers, task_id: str, on_append: Callable[[int], None]) -> None:
        self.watchers = watchers
        self.task_id = task_id
        self.on_append = on_append

    def __call__(self) -> None:
        self.watchers.remove(self)


class Watchers:
    """The callbacks of one store, by task. Used in the event loop only."""

    __slots__ = ("_by_task",)

    def __init__(self) -> None:
        self._by_task: dict[str, list[_Watch]] = {}

    def __bool__(self) -> bool:
        """Return whether anybody watches anything."""
        return bool(self._by_task)

    @property
    def task_ids(self) -> list[str]:
        """The tasks that somebody watches."""
        return list(self._by_task)

    def add(self, task_id: str, on_append: Callable[[int], None]) -> Callable[[], None]:
        """Call ``on_append`` whenever ``notify`` is called for the task; return the way out."""
        watch = _Watch(self, task_id, on_append)
        self._by_task.setdefault(task_id, []).append(watch)
        return watch

    def remove(self, watch: _Watch) -> None:
        """End a watch; it may have ended before."""
        watching = self._by_task.get(watch.task_id, [])
        if watch in watching:
            watching.remove(watch)
            if not watching:
                del self._by_task[watch.task_id]

    def notify(self, task_id: str, head: int) -> None:
        """Tell everybody who watches the task that its log reaches to ``head``."""
        watching = self._by_task.get(task_id)
        if watching is not None:
            # A callback may end its watch, or another's, while this runs.
            for watch in tuple(watching):
                watch.on_append(head)
