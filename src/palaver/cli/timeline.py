"""The picture of a call: what was said, what was detected, what was heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from palaver.errors import ConfigError
from palaver.media.call_record import CallRecord

__all__ = ["check_timeline", "draw_timeline"]

_FORMATS: Final = (".png", ".svg", ".pdf")


def check_timeline(name: str) -> None:
    """See that a picture of that name can be drawn.

    Raises:
        ConfigError: the extra is not installed, or the name says no format.

    """
    if Path(name).suffix.lower() not in _FORMATS:
        raise ConfigError(f"--timeline {name}: must end in {', '.join(_FORMATS)}")
    _figure_class()


def draw_timeline(path: Path, record: CallRecord) -> None:
    """Draw it."""
    del path, record


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 # an optional extra
    except ModuleNotFoundError:
        raise ConfigError(
            "--timeline needs the extra 'timeline': pip install 'palaver[timeline]'"
        ) from None
    return Figure
