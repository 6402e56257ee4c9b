"""Reviews in columns: a sequence of the same reviews, whatever is done with it."""

import json

import numpy as np
import pytest
from conftest import review
from hypothesis import given
from hypothesis import strategies as st
from test_skim import reviews as some_review

from evalkit.ledger import Ledger, as_one
from evalkit.records import Review, short_hash
from evalkit.rows import FIELDS, Rows, concatenated, pick, undoubled

SOME = st.lists(some_review(), max_size=6)


def held(row):
    """All that is held of a review."""
    own = {name: getattr(row, name) for name in FIELDS}
    own["usage"] = row.usage and (row.usage.input, row.usage.output)
    return own | {"text": "" if row.scores is not None else row.text}


def same(rows, reviews):
    return [held(row) for row in rows] == [held(row) for row in reviews]


@given(SOME)
def test_they_are_the_reviews_that_they_were_made_of(given):
    rows = Rows.of(given)
    assert same(rows, given)
    assert len(rows) == len(given)
    assert [*rows.keys()] == [row.key for row in given]
    assert Rows.of(rows) is rows
    assert same(Rows.of([*rows]), given)  # of look-alikes too
    assert same(Rows.of([*given, *rows]), given + given)
    assert [row.key for row in rows[1:3]] == [row.key for row in given[1:3]]
    if given:
        assert held(rows[-1]) == held(given[-1])
    with pytest.raises(IndexError):
        rows[len(given)]


@given(SOME, SOME, st.data())
def test_parts_of_them_are_as_parts_of_a_list(one, other, data):
    mask = data.draw(st.lists(st.booleans(), min_size=len(one), max_size=len(one)))
    mask = np.array(mask, np.bool_)
    rows = Rows.of(one)
    for wanted in (mask, np.flatnonzero(mask)[::-1]):
        assert same(pick(rows, wanted), pick(one, wanted))
    assert isinstance(pick(rows, mask), Rows)
    assert len(pick(rows, [])) == len(pick(one, [])) == 0
    assert pick(one, mask) == [row for row, keep in zip(one, mask, strict=True) if keep]
    assert same(concatenated([rows.take(mask), Rows.of(other)]), [*pick(one, mask), *other])
    doubled = [*one, *other, *one]
    assert same(undoubled(Rows.of(doubled)), undoubled(doubled))
    assert len(undoubled(doubled)) == len({row.key for row in doubled})


@given(SOME)
def test_what_is_asked_of_a_value_is_asked_once_and_only_where_a_row_has_it(given):
    rows = Rows.of(given)
    asked = []
    mask = rows.take(np.arange(1, len(given))).mask("judge", lambda j: asked.append(j) or j == "a")
    assert mask.tolist() == [row.judge == "a" for row in given[1:]]
    assert sorted(asked) == sorted({row.judge for row in given[1:]})
    column = rows.columns["judge"].numbered(len)
    assert [column.values[code] for code in column.codes] == [len(row.judge) for row in given]
    assert dict(column.counts()) == dict(rows.columns["judge"].numbered(len).counts())
    assert sum(n for _, n in rows.columns["judge"].counts()) == len(given)


@given(
    SOME, st.sets(st.sampled_from(["question", "judge", "shown", "scores", "usage"]), min_size=1)
)
def test_rows_that_agree_are_a_group(given, names):
    names = sorted(names)
    rows = Rows.of(given)
    values = [tuple(held(row)[name] for name in names) for row in given]
    groups = rows.groups(*names)
    assert [groups.keys[of] for of in groups.of] == values
    assert len(groups.keys) == len(set(values))
    assert groups.mask(lambda *own: own == values[0]).tolist() == [v == values[0] for v in values]
    parts = rows.by(*names)
    assert {key: len(part) for key, part in parts.items()} == {v: values.count(v) for v in values}


def test_many_columns_of_many_values_are_told_apart_too():
    names = [
        "question",
        "judge",
        "prompt",
        "asked",
        "served",
        "finish_reason",
        "time",
        "refusal",
        "batch",
        "manner",
    ]
    values = [dict.fromkeys(names, str(n)) for n in range(4096)]  # 2**108 combinations
    values += [values[0] | {name: "2048"} for name in names] + [values[7]]
    rows = Rows.of([Review.model_validate(review("q", ("m", "base")) | own) for own in values])
    for first in range(len(names)):
        in_turn = [*names[first:], *names[:first]]
        assert len(set(rows.ids(*in_turn).tolist())) == 4096 + len(names)
        assert [*rows.groups(*in_turn).of[[7, -1]]] == [rows.groups(*in_turn).of[7]] * 2


def test_a_value_can_be_put_in_the_place_of_another():
    rows = Rows.of([Review.model_validate(review(q, ("m", "base"))) for q in ("q1", "q2", "q3")])
    changed = rows.with_value("judge", rows.among("question", {"q1", "q3"}), "people")
    assert [row.judge for row in changed] == ["people", rows[1].judge, "people"]
    assert [row.judge for row in rows] == [rows[0].judge] * 3


def test_shards_in_columns_are_merged_as_records_are(tmp_path):
    parts = {
        "j.p.1-of-2.jsonl": [("q1", "02"), ("q2", None), ("q3", "05")],
        "j.p.2-of-2.jsonl": [("q4", "01"), ("q5", "02"), ("q1", "02"), ("q6", "09")],
    }
    for name, rows in parts.items():
        lines = [
            review(q, ("m", "base"))
            | {"asked": short_hash(q)}
            | ({"time": f"2026-01-{t}"} if t else {})
            for q, t in rows
        ]
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    ledgers = [Ledger(tmp_path / name, Review, print) for name in parts]
    read, skimmed = as_one(ledgers), as_one(ledgers, Ledger.skim)
    assert isinstance(skimmed, Rows)
    assert [row.question for row in read] == ["q4", "q1", "q2", "q5", "q3", "q6"]
    assert same(skimmed, read)
