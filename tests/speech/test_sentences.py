"""Streamed text as sentences, and written text as spoken text; English and Portuguese."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palaver.speech.sentences import Sentences, speakable


def sentences_of(text: str, **options: int) -> list[str]:
    """Return the sentences of a whole text."""
    sentences = Sentences(**options)
    return sentences.push(text) + sentences.flush()


SENTENCES = [
    # plain ends
    "Hello there.|How are you?|I am fine!",
    "Well…|Let me see...|Really?!|Yes.",
    "First line|Second line",
    "Note:|it rains.",
    # quotes and brackets belong to their sentence
    '"Stop!"|He ran.',
    '"Why?" she asked.|"Because."',
    "(It rained.)|Then it stopped.",
    "«Sim.»|E foi.",
    "He said “no.”|Then he left.",
    # numbers, times, addresses
    "It is 3.14 or 1,000.50.|Good.",
    "Custa R$ 1.000,50 hoje.|Certo.",
    "At 10:30 or 10.30.|Fine.",
    "The year was 2024.|Then came 2025.",
    "See https://example.com/a.b?c=d&e=1.2 now.|Or example.org.",
    "Write to ann.lee@example.com.|Thanks.",
    "Version 1.2.3 is out.|Use it.",
    "É o 1.º lugar e a 2.ª vez.|Bom.",
    "1. First thing.|2. Second thing.",
    # abbreviations
    "Dr. Lee met Mrs. Jones at St. Mary.|They left.",
    "O Sr. João e a Sra. Ana moram na Av. Paulista.|É longe.",
    "Use fruit, e.g. apples, i.e. food.|Eat.",
    "Use frutas, p. ex. maçãs.|Coma.",
    "Bring pens, paper, etc. for the test.|Bring them.",
    "Bring pens, paper, etc.|Then begin.",
    "At 9 a.m. on Monday.|At 5 p.m.|Then home.",
    "Em 44 a.C. morreu César.|Fim.",
    "J. K. Rowling and George R. R. Martin write.|They do.",
    "O art. 5 e a pág. 12 dizem.|Leia.",
    "See fig. 3 and no. 7.|Good.",
    "I said no.|Then I left.",
    "She sat.|The sun set.|We went.",
    "The U.S. team won.|We cheered.",
    "Acme Inc. makes it.|Acme Ltd.|They sell it.",
    # marks that end nothing
    "A smile :-) here.|Done.",
    "Wait; no.|Yes.",
    "One, two, three.|Four.",
]


@pytest.mark.parametrize("marked", SENTENCES)
def test_sentences(marked: str) -> None:
    """The text is cut at the bars, and nowhere else."""
    separator = "\n" if marked.startswith("First line") else " "
    text = marked.replace("|", separator)
    expected = marked.split("|")
    assert sentences_of(text) == expected
    assert speakable(text) == text


@pytest.mark.parametrize("marked", SENTENCES)
def test_sentences_letter_by_letter(marked: str) -> None:
    """The same, where the text comes as slowly as it can."""
    separator = "\n" if marked.startswith("First line") else " "
    sentences = Sentences()
    found = [one for letter in marked.replace("|", separator) for one in sentences.push(letter)]
    assert found + sentences.flush() == marked.split("|")


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["Hello", ".", " "], [[], [], ["Hello."]]),
        (["Hello. How"], [["Hello."]]),
        (["Hello.\n"], [["Hello."]]),
        (["Is it 3.", "14? ", "Yes"], [[], ["Is it 3.14?"], []]),
        (["It is Dr. ", "Lee. ", "x"], [[], ["It is Dr. Lee."], []]),
        (["apples etc. ", "and"], [[], []]),
        (["apples etc. ", "And"], [[], ["apples etc."]]),
        (['"Why?" ', "she"], [[], []]),
        (['"Why?" ', "She"], [[], ['"Why?"']]),
        (["**Done.** ", "Next"], [["Done."], []]),
        (["[see](this is none). ", "x"], [["[see](this is none)."], []]),
        (["[see](http://x.y", ' "a b', '"). ', "x"], [[], [], ["see."], []]),
    ],
)
def test_as_early_as_it_is_certain(pieces: list[str], expected: list[list[str]]) -> None:
    """A sentence comes with the piece that makes its end certain."""
    sentences = Sentences()
    assert [sentences.push(piece) for piece in pieces] == expected


def test_a_flush_says_what_is_there() -> None:
    """Where the text pauses, what waits is said; what follows is text like any other."""
    sentences = Sentences()
    assert sentences.push("Let me look. One moment.") == ["Let me look."]
    assert sentences.flush() == ["One moment."]
    assert sentences.flush() == []
    assert sentences.push("- There **it") == []
    assert sentences.push(" is.** ") == ["There it is."]


def test_nothing_to_say() -> None:
    """Spaces, rules and lonely punctuation are no sentences."""
    assert sentences_of("") == []
    assert sentences_of(" \n\t\n ") == []
    assert sentences_of("---\n***\n...\n— !\n") == []
    assert sentences_of("$ 5\n=\n") == ["$ 5", "="]


def test_long_runs_are_cut_at_clauses() -> None:
    """What has no end is cut at a comma, else at a space, and a word only if it must be."""
    assert sentences_of("aaaa bbbb, cccc dddd eeee ffff", max_characters=20) == [
        "aaaa bbbb,",
        "cccc dddd eeee ffff",
    ]
    assert sentences_of("a, bb cccc dddd eeee ffff", max_characters=20) == [
        "a, bb cccc dddd eeee",
        "ffff",
    ]
    assert sentences_of("a" * 50, max_characters=20) == ["a" * 20, "a" * 20, "a" * 10]
    assert sentences_of("1,000,000,000 and 2,000,000", max_characters=20) == [
        "1,000,000,000 and",
        "2,000,000",
    ]
    assert sentences_of('abcd efgh ijkl mnop.") Z', max_characters=20) == [
        "abcd efgh ijkl",
        'mnop.")',
        "Z",
    ]


def test_a_semicolon_ends_long_sentences() -> None:
    """It ends nothing that is short."""
    assert sentences_of("one; two; three; four", long_characters=8) == ["one; two;", "three; four"]


def test_the_first_sentence_may_end_at_a_comma() -> None:
    """The voice begins early, once: later sentences are whole."""
    text = "Sure, I can do that for you, no problem. After that, we are done."
    assert sentences_of(text, first_clause_characters=12) == [
        "Sure, I can do that for you,",
        "no problem.",
        "After that, we are done.",
    ]


def test_too_short_sentences_are_refused() -> None:
    """A limit that no sentence fits into is an error."""
    with pytest.raises(ValueError, match=r"^sentences of 19 characters are too short: 20 or more$"):
        Sentences(max_characters=19)


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        # emphasis
        ("**bold** and *light* and ***both***", "bold and light and both"),
        ("__bold__ and _light_", "bold and light"),
        ("~~gone~~ but ~5 left", "gone but ~5 left"),
        ("un**believ**able", "unbelievable"),
        ("snake_case_name stays", "snake_case_name stays"),
        ("3 * 4 = 12, 3*4, 2**3", "3 * 4 = 12, 3*4, 2**3"),
        # blocks
        ("# Title\n## Part #2", "Title\nPart #2"),
        ("#hashtag and C#", "#hashtag and C#"),
        ("- one\n* two\n+ three\n• four\n  - five", "one\ntwo\nthree\nfour\nfive"),
        ("-5 degrees\n+1", "-5 degrees\n+1"),
        ("- -5 degrees", "-5 degrees"),
        ("- **bold**", "bold"),
        ("1. one\n2) two", "1. one\n2) two"),
        ("> quoted\n> > twice\n>tight", "quoted\ntwice\ntight"),
        ("up\n---\ndown\n* * *\nend", "up\n\ndown\n\nend"),
        ("— Olá, disse.", "— Olá, disse."),
        # code
        ("Use `print(x)` now", "Use print(x) now"),
        ("```python\nx = 1\n```\nDone", "x = 1\n\nDone"),
        ("~~~\nx\n~~~", "x"),
        ("```x = 1```", "x = 1"),
        # links
        ("See [the docs](https://x.y/z_(a)) now", "See the docs now"),
        ('A [titled](http://x "a title") one', "A titled one"),
        ("![a cat](cat.png) sits", "a cat sits"),
        ("[**bold** link](x)", "bold link"),
        ("[- dash](x)", "- dash"),
        ("Item [1] and [x] (maybe)", "Item [1] and [x] (maybe)"),
        ("[text](which is no target)", "[text](which is no target)"),
        ("![no image] here!", "![no image] here!"),
        ("[open (", "[open ("),
        ("[open", "[open"),
        ("[text]", "[text]"),
        ("[a [b](c)", "[a b"),
        ("Stop!", "Stop!"),
        ("C:\\", "C:\\"),
        ("[a\nb](c)", "[a\nb](c)"),
        # tables, tags, escapes
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a b\n--- ---\n1 2"),
        ("one<br/>two <b>bold</b>", "one two bold"),
        ("1 < 2 and <noise>", "1 < 2 and <noise>"),
        (r"\*as it is\* and C:\path", r"*as it is* and C:\path"),
        # pictures
        ("Great 🎉! 👩\u200d💻 ok 👍🏽", "Great ! ok"),
        ("22 °C © 2024 → 5 €", "22 °C © 2024 → 5 €"),
    ],
)
def test_speakable(written: str, spoken: str) -> None:
    """Marks and pictures go, words and numbers stay."""
    assert speakable(written) == spoken


def test_an_answer_of_a_model() -> None:
    """What language models write, as it is said."""
    text = (
        "## Opening hours 🕘\n\nWe are **open** from 9 a.m. to 5 p.m., Mon. to Fri.:\n\n"
        "- *Library*: 9:00\n- [Office](https://x.org/o): `10:30`\n\n---\nAnything else? 😊"
    )
    assert sentences_of(text) == [
        "Opening hours",
        "We are open from 9 a.m. to 5 p.m., Mon. to Fri.:",
        "Library:",
        "9:00",
        "Office:",
        "10:30",
        "Anything else?",
    ]


# --- whatever is written --------------------------------------------------------------------

FRAGMENTS = [
    *"aAbZ19.!?…:;,'\"()[]*_~`#>|-+<\\/=\n é🎉",
    " ",
    " ",
    "Dr.",
    "etc. ",
    "e.g. ",
    "p. ex. ",
    "3.14",
    "word ",
    "palavra ",
    "](x)",
    "[a](b)",
    "![a](b)",
    "```",
    "<br>",
    "\r\n",
    "\u200d",
    "- ",
]
written = st.lists(st.sampled_from(FRAGMENTS), max_size=60).map("".join) | st.text(max_size=60)
cuts = st.lists(st.integers(0, 200), max_size=20)


@given(text=written, places=cuts, first=st.none() | st.integers(1, 30))
@example(text="x" * 45 + ". y", places=[45], first=None)
@example(text="[" + "x" * 400 + "](y)", places=[150, 301, 302], first=None)
@example(text="-" * 300 + " x", places=[127, 128, 129], first=None)
@example(text="*" * 130 + "x", places=[63, 64, 65], first=None)
def test_pieces_do_not_matter(text: str, places: list[int], first: int | None) -> None:
    """However the text is cut, the sentences are the same."""
    whole = Sentences(40, 30, first)
    expected = whole.push(text) + whole.flush()
    sentences = Sentences(40, 30, first)
    edges = sorted({0, len(text), *(place for place in places if place < len(text))})
    pieces = [text[start:end] for start, end in pairwise(edges)]
    found = [one for piece in pieces for one in sentences.push(piece)]
    assert found + sentences.flush() == expected


@given(text=written, limit=st.integers(20, 60))
def test_sentences_are_bounded_and_clean(text: str, limit: int) -> None:
    """Each sentence fits, is one line with single spaces, and says something."""
    for sentence in sentences_of(text, max_characters=limit):
        assert 0 < len(sentence) <= limit
        assert sentence == " ".join(sentence.split())
        assert re.search(r"\w|[^\w\s]", sentence)


plain_words = st.lists(
    st.text(alphabet="abcABC019éã.,!?;:'\"()-%", min_size=1, max_size=18), max_size=40
)


@given(words=plain_words, gap=st.sampled_from([" ", "  ", "\t", " \n"]))
def test_words_stay_whole_and_in_order(words: list[str], gap: str) -> None:
    """Joined again, the sentences are the words of the text, but for lonely punctuation."""
    text = "a" + gap + gap.join(words)
    found = " ".join(sentences_of(text, max_characters=20)).split()
    kept = [word for word in text.split() if re.search(r"[^\W_]", word)]
    assert [word for word in found if re.search(r"[^\W_]", word)] == kept


@given(text=st.text(alphabet="abc12 \n.,!?*_~#>|+-=()]`\\🎉", max_size=120))
def test_only_marks_are_lost(text: str) -> None:
    """Letters and digits all stay, in their order, in the spoken text and in the sentences."""
    fenced = re.search(r"(?:`{3,}|~{3,})[\w+#.\-]", text)
    letters = [character for character in text if character.isalnum()]
    if fenced is None:  # the language of a fence is a part of the mark
        assert [character for character in speakable(text) if character.isalnum()] == letters
        said = "".join(sentences_of(text, max_characters=20))
        assert [character for character in said if character.isalnum()] == letters


@given(text=written)
def test_sentences_say_what_is_speakable(text: str) -> None:
    """The sentences together are the speakable text, but for lonely punctuation and spaces."""
    said = "".join("".join(sentences_of(text)).split())
    spoken = "".join(speakable(text).split())
    assert [c for c in said if c.isalnum()] == [c for c in spoken if c.isalnum()]


def test_words_fill_a_silence() -> None:
    """Whole words can be had before their sentence ends; nothing is lost, nothing is cut."""
    sentences = Sentences()
    assert sentences.push("one two thr") == []
    assert sentences.words() == ["one two"]
    assert sentences.words() == []
    assert sentences.push("ee four.") == []
    assert sentences.flush() == ["three four."]
