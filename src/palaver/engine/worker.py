"""The name of this process among the workers of a store, and whether another one is gone."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from palaver.model.ids import IdSource

__all__ = ["is_gone", "worker_id"]


@cache
def _here() -> str:
    """Name what process numbers refer to: this boot of this machine, this namespace of pids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def worker_id(ids: IdSource) -> str:
    """Return an id for this process; it tells others on this machine which process it is."""
    return f"{ids('worker')}@{os.getpid()}@{_here()}"


def is_gone(worker: str) -> bool:
    """Return whether that worker was a process of this machine that does not exist any more.

    False where it cannot be told: then only the worker's silence tells.
    """
    _, pid, here = (*worker.split("@", 2), "", "")[:3]
    if not here or here != _here() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
