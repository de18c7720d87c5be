import itertools

from hypothesis import given
from hypothesis import strategies as st

from palaver.model.content import (
    Artifact,
    DataPart,
    FilePart,
    Message,
    Part,
    TextPart,
    compact,
    text_of,
)

texts = st.builds(
    TextPart,
    st.text(max_size=4),
    media_type=st.sampled_from([None, "text/markdown"]),
    filename=st.sampled_from([None, "a.txt"]),
    metadata=st.sampled_from([None, {"k": 1}]),
)
parts: st.SearchStrategy[Part] = st.one_of(
    texts, st.builds(DataPart, st.integers()), st.builds(FilePart, uri=st.just("https://x.test/"))
)


@given(st.lists(parts, max_size=20))
def test_compaction_is_concatenation(given_parts: list[Part]) -> None:
    """The text stays, other parts stay and stay in order, and nothing is left to be joined."""
    compacted = compact(given_parts)
    assert text_of(compacted) == text_of(given_parts)
    assert [p for p in compacted if not isinstance(p, TextPart)] == [
        p for p in given_parts if not isinstance(p, TextPart)
    ]
    assert compact(compacted) == compacted
    for left, right in itertools.pairwise(compacted):
        if isinstance(left, TextPart) and isinstance(right, TextPart):
            assert (left.media_type, left.filename, left.metadata) != (
                right.media_type,
                right.filename,
                right.metadata,
            )


@given(st.lists(st.lists(parts, max_size=5), max_size=5))
def test_compaction_may_be_done_piece_by_piece(pieces: list[list[Part]]) -> None:
    """Joining what was joined before gives what joining all at once gives."""
    together = compact([part for piece in pieces for part in piece])
    assert compact([part for piece in pieces for part in compact(piece)]) == together


def test_the_text_of_things() -> None:
    """A message and an artifact have the text of their text parts."""
    mixed: tuple[Part, ...] = (TextPart("a"), DataPart({"b": 1}), TextPart("c"))
    assert Message(id="m", role="agent", parts=mixed).text == "ac"
    assert Artifact(id="a", parts=mixed).text == "ac"
    assert text_of(()) == ""
