import pytest

from palaver.errors import InvalidId
from palaver.model.ids import MAX_ID_LENGTH, check_id, slug


@pytest.mark.parametrize(
    "value",
    [
        "t",
        "0",
        "a/b/../c",
        "spaces inside",
        "'; DROP TABLE tasks; --",
        "100%",
        '"quoted" \\ {braces}',
        "Ünïcödé 日本語",
        "🦜",
        "e\u0301",
        "x" * MAX_ID_LENGTH,
        "🦜" * MAX_ID_LENGTH,
    ],
)
def test_an_id_is_any_printable_text(value: str) -> None:
    """What may be an id comes back as it is."""
    assert check_id(value) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "task id must not be empty"),
        ("x" * 257, "task id has 257 characters; at most 256 are allowed"),
        ("a\0b", "task id holds the character U+0000 at position 1"),
        ("line\n", "task id holds the character U+000A at position 4"),
        ("\x1b[31m", "task id holds the character U+001B at position 0"),
        ("\x7f", "task id holds the character U+007F at position 0"),
        ("é\x85", "task id holds the character U+0085 at position 1"),
        ("lone \ud800", "task id holds the character U+D800 at position 5"),
        ("\udfff", "task id holds the character U+DFFF at position 0"),
        ("right \u202eto left", "task id holds the character U+202E at position 6"),
        ("\u200bzero width", "task id holds the character U+200B at position 0"),
        ("\ufeff", "task id holds the character U+FEFF at position 0"),
        ("é\u2028", "task id holds the character U+2028 at position 1"),
    ],
)
def test_what_is_no_id_is_refused(value: str, text: str) -> None:
    """The text says what is wrong with it, and where."""
    with pytest.raises(InvalidId) as caught:
        check_id(value, "task id")
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Concierge", "concierge"),
        ("Front  Desk, 2nd floor!", "front-desk-2nd-floor"),
        ("--a--", "a"),
        ("São Paulo", "s-o-paulo"),
        ("🦜", ""),
    ],
)
def test_slug(name: str, expected: str) -> None:
    """A slug is what is safe in a path."""
    assert slug(name) == expected
