"""The three records: strict, and the same text gives the same hash."""

import hashlib
import json

import pytest
from conftest import answer, question, review
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evalkit.records import Answer, Question, Review, short_hash


@pytest.mark.parametrize(
    ("model", "row"), [(Question, question()), (Answer, answer()), (Review, review())]
)
def test_a_row_comes_back_from_its_line(model, row):
    record = model.model_validate(row)
    assert json.loads(record.line()) == row
    assert model.model_validate(json.loads(record.line())) == record
    assert "\n" not in record.line()


def test_an_unreadable_review_says_so_in_its_line():
    row = json.loads(Review.model_validate(review(scores=None)).line())
    assert row["scores"] is None


@pytest.mark.parametrize(
    ("model", "row"),
    [
        (Question, question(turns=[])),
        (Question, question(turns=["Why?", " "])),
        (Question, question(id=1)),
        (Question, question(text="Why?")),
        (Answer, answer(sample="0")),
        (Answer, answer(dollars=float("nan"))),
        (Review, review(scores=(8,))),
        (Review, review(answers=["0"])),
        (Review, review(rung="guessed")),
        (Review, {k: v for k, v in review().items() if k != "scores"}),
    ],
)
def test_nothing_is_converted_guessed_or_ignored(model, row):
    with pytest.raises(ValidationError):
        model.model_validate(row)


def test_the_hash_is_of_the_text_alone():
    one = Answer.model_validate(answer("q1", "a", "Text."))
    assert one.hash == Answer.model_validate(answer("q2", "b", "Text.")).hash
    assert one.hash != Answer.model_validate(answer("q1", "a", "Text")).hash
    # Known from outside: sha256 of the JSON text ["Text."]
    assert one.hash == "91fb2af42a7069d7"


def test_the_hash_does_not_depend_on_the_order_of_keys():
    assert short_hash({"a": 1, "b": "ä"}) == short_hash({"b": "ä", "a": 1})


@pytest.mark.parametrize("field", ["question", "model", "sample", "asked"])
def test_what_was_asked_is_part_of_a_rows_key(field):
    other = answer(**{field: 7 if field == "sample" else "other"})
    assert Answer.model_validate(answer()).key != Answer.model_validate(other).key


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda of: st.lists(of) | st.dictionaries(st.text(), of),
)


def canonical(value):
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@given(ANY)
def test_a_hash_is_that_of_canonical_json(value):
    assert short_hash(value) == canonical(value)


def test_texts_are_hashed_as_everything_else_is():
    every = [
        "".join(map(chr, range(first, min(first + 4096, 0x110000))))
        for first in range(0, 0x110000, 4096)
    ]
    for text in every:  # half surrogate pairs among them
        assert short_hash([text, "x"]) == short_hash((text, "x")) == canonical([text, "x"])
