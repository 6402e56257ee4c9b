"""No reply makes a parser raise, take long, or give a score that is not on its scale."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.parsers import PARSERS, without_reasoning

PIECES = [
    '8', '9', '10', '11', '0', '-3', '8.5', '8,5', '1e9', 'nan', 'inf', '\xbd', '/10', '/100',
    '/', ' ', '  ', '\n', '\t', ',', '.', ':', ';', '|', '(', ')', '[', ']', '[[', ']]', '{',
    '}', '"', "'", '**', '#', 'Answer 1', 'Answer 2', 'answer', 'Assistant A', 'Assistant B',
    '\u52a9\u624b1', '\u52a9\u624b2', '\uff1a', '\u5206', 'score', 'Scores:', 'Overall',
    'final', 'verdict', 'first', 'second', 'A', 'B', 'tie', '>>', '>', '=', '[[A]]', '[[B>A]]',
    '[[7]]', '<think>', '</think>', 'is better', 'not', '\x00', '\ud800', '\u202e', '\uff18',
    '\uff19', '0123456789012345678901234567890123456789', '{"first": 8, "second": 9}', '|---|',
    '\\boxed{8}', '\nScore of the Assistant 1: 8\nScore of the Assistant 2: 9\n',
]  # fmt: skip
spliced = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
texts = st.one_of(spliced, st.text(max_size=200), st.text(st.characters(categories=["Nd", "P"])))


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=400, deadline=None)
@given(reply=texts, shown=st.lists(texts, max_size=3))
def test_any_reply_is_read_within_the_scale_or_not_at_all(name, reply, shown):
    found = PARSERS[name](reply, shown)
    highest = 1 if name.startswith("pair_verdict") else 10
    if found.scores is None:
        assert found.unreadable and found.rung is None
        return
    assert len(found.scores) == (1 if name == "grade" else 2)
    assert all(0 <= score <= highest for score in found.scores)
    assert found.rung in ("structured", "strict", "tolerant") and not found.unreadable
    if name.startswith("pair_verdict"):
        assert sum(found.scores) == 1


@settings(max_examples=300, deadline=None)
@given(st.tuples(st.integers(1, 10), st.integers(1, 10)), spliced, spliced)
def test_what_an_answer_says_never_becomes_the_verdict(scores, before, quoted):
    """A reply that quotes an answer, then ends as asked, is read as it ends."""
    reply = f"{before}\nAnswer 1 says: {quoted}\n\nBoth were read.\n{scores[0]} {scores[1]}"
    found = PARSERS["pair_scores"](reply, [quoted])
    if without_reasoning(reply)[1] is None:
        assert found.scores == scores


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize(
    "piece",
    ["8", " ", "[", "8 ", "8,", "(", "|", "| 8 ", "answer 1: ", "{a:", '{"a": ', "<think>", "\n",
     "a", "score of the assistant 1: 8\n", "score ", "[[A", "8/10", "final ", "0 9\n", "'", "> "],
)  # fmt: skip
def test_a_reply_of_a_million_characters_takes_no_time(name, piece):
    begun = time.process_time()
    PARSERS[name](piece * (1_000_000 // len(piece)), [piece * 100_000])
    assert time.process_time() - begun < 20  # it was hours where a grammar went back over itself
