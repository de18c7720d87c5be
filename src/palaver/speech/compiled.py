"""Whether the audio path of this installation is compiled."""

from __future__ import annotations

from palaver.speech import hearing

__all__ = ["compiled"]


def compiled() -> bool:
    """Tell whether what runs for each message of a call is machine code, or interpreted as usual.

    It decides the same in either form; compiled it takes less of a core.
    """
    return not str(hearing.__file__).endswith((".py", ".pyc"))
