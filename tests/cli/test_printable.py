"""What a peer says cannot play with the terminal."""

from __future__ import annotations

import pytest

from palaver.cli.printable import printable


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain, ação, 語, 🙂", "plain, ação, 語, 🙂"),
        ("\x1b]0;title\x07\x1b[2J", "�]0;title��[2J"),
        ("one\ntwo\r", "one�two�"),
        ("\u2028\u202e\x9b31m", "���31m"),
    ],
)
def test_only_what_is_shown_is_left(said: str, shown: str) -> None:
    """Letters stay; whatever a terminal would obey is replaced."""
    assert printable(said) == shown
