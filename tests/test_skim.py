"""Rows read light: the same as the records, but for the words, and as strict."""

import json
import tempfile
from pathlib import Path

import pytest
from conftest import answer, review
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evalkit import jsonl, skim
from evalkit.ledger import Ledger
from evalkit.records import Answer, Review, Usage, short_hash

DROPPED = {"text", "reasoning", "extra", "sampling", "template", "latency"}  # of a review
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = st.sampled_from(["a", "org/b", "名", 'q"uo": te', "back\\", '\\": '])


@st.composite
def reviews(draw):
    scores = st.floats(0, 10) | st.integers(0, 10).map(float)
    return Review(
        question=draw(NAME),
        judge=draw(NAME),
        prompt=draw(NAME),
        shown=("m", draw(NAME)),
        answers=(short_hash(1), short_hash(2)),
        text=draw(TEXT | NAME),
        scores=draw(st.none() | st.tuples(scores, scores)),
        asked=draw(NAME),
        sample=draw(st.integers(0, 3)),
        usage=draw(st.none() | st.just(Usage(input=1, output=0))),
        sampling=draw(st.none() | st.just({"temperature": 0.0, "max_tokens": 9})),
        extra=draw(st.just({}) | st.just({"tool": {"a": [{"b": 1}, "c"], 'd": ': {}}})),
        dollars=draw(st.none() | st.floats(0, 1)),
        time=draw(st.none() | TEXT),
        canary=draw(st.none() | st.just("twins")),
        cut=draw(st.integers(0, 2)),
        flags=draw(st.just(()) | st.just(("outside_scale",))),
    )


def looked(model, block):
    """The rows of a block, as they were looked at."""
    return [row for rows, _ in skim.skimmer(model)(block) for row in rows]


@given(reviews())
def test_a_look_alike_says_what_its_record_says(row):
    line = row.line().encode()
    (seen,) = skim.read(Review, [line])
    assert seen.key == row.key
    assert not seen.is_vote
    kept = set(Review.model_fields) - DROPPED - {"usage"}
    assert {name: getattr(seen, name) for name in kept} == {
        name: getattr(row, name) for name in kept
    }
    assert (seen.usage and (seen.usage.input, seen.usage.output)) == (
        row.usage and (row.usage.input, row.usage.output)
    )
    assert seen.text == ("" if row.scores is not None else row.text)
    assert skim.question(line) == row.question


def test_rows_as_evalkit_writes_them_are_read_light_and_share_what_is_the_same():
    lines = [
        Review.model_validate(review(f"q{n % 2}", ("m", "base"), text="x" * 500, asked=str(n)))
        .line()
        .encode()
        for n in range(4)
    ]
    block = b"\n".join(lines)
    assert not any(isinstance(row, Review) for row in looked(Review, block))
    rows = skim.read(Review, [block])
    assert rows[0].shown is rows[1].shown
    assert rows[0].question is rows[2].question
    assert not any(row.text for row in rows)


def test_rows_with_all_that_evalkit_writes_are_read_light():
    plain = Review.model_validate(review("q1", ("m", "base")))
    full = plain.model_copy(
        update={
            "text": 'He said "x": then {"a": 1} \\": and \\',
            "usage": Usage(input=1, output=2),
            "sampling": {"temperature": 0.0, "max_tokens": 9},
            "extra": {"tool": {"a": [{"b": 1}, "c"], 'd": ': {}}},
            "served": "m",
            "sample": 2,
        }
    )
    for rows in ([full], [plain, full, plain], [full, plain, full], [plain, plain, full]):
        block = "\n".join(row.line() for row in rows).encode()
        ((light, _),) = skim.skimmer(Review)(block)  # at once, and not line by line
        assert not any(isinstance(row, Review) for row in light)
    answered = Answer.model_validate(answer("q1", "m", 'said ": '))
    assert not isinstance(looked(Answer, answered.line().encode())[0], Answer)


def test_an_answer_keeps_its_words():
    row = Answer.model_validate(answer("q1", "m", "said"))
    (seen,) = skim.read(Answer, [row.line().encode()])
    assert not isinstance(seen, Answer)
    assert (seen.turns, seen.hash, seen.characters) == (row.turns, row.hash, row.characters)
    assert not seen.is_empty


def test_a_vote_comes_as_the_record():
    row = Review.model_validate(review("q1", ("m", "base"), (1, 0)) | {"prompt": "vote"})
    assert looked(Review, row.line().encode()) == [row]


BAD = {
    "an unknown field": {"colour": 1},
    "a score too many": {"scores": [1, 2, 3]},
    "a score below 0": {"scores": [-1, 2]},
    "an answer too few": {"answers": ["x"]},
    "nothing shown": {"shown": [], "answers": [], "scores": []},
    "a number for a text": {"judge": 1},
    "a text for a number": {"sample": "1"},
    "no such rung": {"rung": "high"},
    "soft scores that do not add up": {"soft": True, "scores": [0.5, 0.6]},
    "no turn": {"first_turns": 0},
}


@pytest.mark.parametrize("wrong", BAD.values(), ids=BAD)
def test_what_is_refused_strictly_is_refused_here(wrong):
    line = json.dumps(review("q1", ("m", "base")) | wrong).encode()
    with pytest.raises(ValidationError) as strictly:
        Review.model_validate(jsonl.parse(line))
    with pytest.raises(ValidationError) as light:
        looked(Review, line)
    assert str(light.value) == str(strictly.value)


@pytest.mark.parametrize(
    "edit",
    [
        lambda line: line.replace('"text": ', '"text": "9 9", "text": ', 1),
        lambda line: line.replace('"scores": [', '"scores": [9, 1], "scores": [', 1),
        lambda line: line.replace('"text": ', '"usage": {"input": 1, "input": 2}, "text": ', 1),
        lambda line: line.replace('"text": ', '"extra": {"a": {"b": 1, "b": 2}}, "text": ', 1),
    ],
)
def test_a_key_that_stands_twice_is_refused(edit):
    line = edit(json.dumps(review("q1", ("m", "base")))).encode()
    with pytest.raises(jsonl.Malformed, match="stands twice"):
        looked(Review, line)


@pytest.mark.parametrize("raw", [b'{"question": "q', b"[]", b"\xff", b'{"dollars": NaN}'])
def test_what_is_no_row_is_refused(raw):
    with pytest.raises(jsonl.Malformed):
        looked(Review, raw)
    assert skim.question(raw) is None


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda one, other: f"{one} {other}\n",
        lambda one, other: f"{one}{other}\n\n",
        lambda one, other: f"{one}\n{one} {other}\n\n{one}\n",
        lambda one, other: one.replace(', "', ',\n"', 1) + "\n" + other,
        lambda one, other: one.replace("}, ", "}\n, ", 1) + f" {other}\n{one}\n",
    ],
)
def test_rows_that_do_not_stand_one_a_line_are_refused(spoilt):
    usage = {"usage": {"input": 1, "output": 2}, "sampling": {"temperature": 0.0}}
    lines = [
        Review.model_validate(review(q, ("m", "base")) | usage | {"asked": q}).line()
        for q in ("q1", "q2")
    ]
    text = spoilt(*lines)
    with pytest.raises(jsonl.Malformed):
        skim.read(Review, [text.encode()])


def test_another_spelling_of_the_same_row_is_read_strictly_and_is_the_same():
    row = review("q1", ("m", "base"))
    for text in (json.dumps(row, separators=(",", ":")), json.dumps(row | {"sample": 0})):
        assert looked(Review, text.encode()) == [Review.model_validate(row)]


def test_a_ledger_is_read_again_only_where_it_changed(tmp_path):
    file = tmp_path / "a.jsonl"
    first, second = (Review.model_validate(review(q, ("m", "base"))) for q in ("q1", "q2"))
    file.write_text(first.line() + "\n")
    ledger = Ledger(file, Review, print)
    rows = ledger.skim()
    assert ledger.skim() is rows
    with file.open("a") as stream:
        stream.write(second.line() + "\n")
    assert [row.question for row in ledger.skim()] == ["q1", "q2"]
    assert [row.text for row in ledger.about({"q2"})] == [second.text]


def test_a_torn_last_line_is_set_aside_as_ever(tmp_path):
    file, told = tmp_path / "a.jsonl", []
    row = Review.model_validate(review("q1", ("m", "base")))
    file.write_text(row.line() + "\n" + row.line()[:40])
    assert [each.key for each in Ledger(file, Review, told.append).skim()] == [row.key]
    assert "torn" in told[0]
    assert file.read_text() == row.line() + "\n"


def test_one_doubtful_line_costs_no_other_its_lightness():
    row = Review.model_validate(review("q1", ("m", "base"))).line()
    odd = row.replace('": ', '":')
    rows = looked(Review, f"{row}\n\n{odd}\n  {row}\r\n".encode())
    assert [isinstance(each, Review) for each in rows] == [False, True, False]
    assert len({each.key for each in rows}) == 1


def test_lines_come_in_blocks_of_whole_ones(tmp_path, monkeypatch):
    file = tmp_path / "a.jsonl"
    file.write_bytes(
        b"\xef\xbb\xbf" + b"".join(b"%d" % n * n + b"\n" for n in range(1, 60)) + b"end"
    )
    whole = file.read_bytes()[3:]
    for size in (1, 7, 100, 10_000):
        monkeypatch.setattr(jsonl, "BLOCK", size)
        blocks = [*jsonl.blocks(file)]
        assert b"".join(blocks) == whole
        assert all(block.endswith(b"\n") for block in blocks[:-1])
    monkeypatch.setattr(jsonl, "BLOCK", 7)
    monkeypatch.setattr(jsonl, "MAX_ROW", 50)
    with pytest.raises(jsonl.Malformed, match="a row of more than"):
        [*jsonl.blocks(file)]


@given(
    st.lists(st.sampled_from([b'{"a": 1}', b"{", b" ", b"", b"\r", b"\xff"])),
    st.booleans(),
    st.booleans(),
)
def test_a_last_line_that_stops_in_its_middle_is_found_without_the_others(parts, ended, bom):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl")
        path.write_bytes(b"\xef\xbb\xbf" * bom + b"\n".join(parts) + b"\n" * ended)
        torn = jsonl.torn(path)
        last = [*jsonl.lines(path)][-1:]
        if torn is None:
            assert ended or not last or last[0].ended or last[0].raw == b'{"a": 1}'
        else:
            assert not last[0].ended
            assert (torn.raw, torn.start, torn.end) == (last[0].raw, last[0].start, last[0].end)
            assert (
                b"".join(jsonl.blocks(path, 0, torn.start)) + path.read_bytes()[torn.start :]
                == (path.read_bytes()[3 * bom :])
            )


def test_a_line_that_is_longer_than_a_row_is_not_torn(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "MAX_ROW", 50)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * 50)
    assert jsonl.torn(path) is not None
    path.write_bytes(b"x" * 51)
    assert jsonl.torn(path) is None
    path.write_bytes(b"\n" + b"x" * 50)
    assert jsonl.torn(path) is None
