"""Who wants to know when a task's log grows."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Watchers"]


class Watchers:
    """The callbacks of one store, by task. Used in the event loop only."""

    __slots__ = ("_by_task",)

    def __init__(self) -> None:
        self._by_task: dict[str, list[Callable[[int], None]]] = {}

    def __bool__(self) -> bool:
        """Return whether anybody watches anything."""
        return bool(self._by_task)

    @property
    def task_ids(self) -> list[str]:
        """The tasks that somebody watches."""
        return list(self._by_task)

    def add(self, task_id: str, on_append: Callable[[int], None]) -> Callable[[], None]:
        """Call ``on_append`` whenever ``notify`` is called for the task; return the way out."""
        watching = self._by_task.setdefault(task_id, [])
        watching.append(on_append)
        active = True

        def unwatch() -> None:
            nonlocal active
            if active:
                active = False
                watching.remove(on_append)
                if not watching:
                    del self._by_task[task_id]

        return unwatch

    def notify(self, task_id: str, head: int) -> None:
        """Tell everybody who watches the task that its log reaches to ``head``."""
        watching = self._by_task.get(task_id)
        if watching is not None:
            # A callback may end its watch, or another's, while this runs.
            for on_append in tuple(watching):
                on_append(head)
