"""Which reviews count: in columns and by hand, row by row."""

from conftest import answer, question
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.judge.filling import basis
from evalkit.judge.standing import standing
from evalkit.prompts import JudgePrompt
from evalkit.records import VOTE, Answer, Question, Review, short_hash
from evalkit.rows import Rows
from evalkit.workspace import SHIPPED
from evalkit.yamlfile import load

PROMPT = load(SHIPPED / "prompts/judge/pair-scores.yaml", JudgePrompt)
BANK = [Question.model_validate(question(id_, turns=["One?", "Two?"])) for id_ in ("q1", "q2")]
TURNS = ("first", "second")
ANSWERS = [
    Answer.model_validate(
        answer(q.id, m) | {"turns": TURNS, "question_hash": short_hash(q.turns), "sample": n}
    )
    for q in BANK
    for m in "ab"
    for n in (0, 1)
]
HASHES = [short_hash(TURNS), short_hash(TURNS[:1]), short_hash("another")]


@st.composite
def rows(draw):
    vote = draw(st.booleans())
    id_ = draw(st.sampled_from(["q1", "q1", "q1", "q2", "gone"]))
    pairs = 3 * [("a", "b"), ("b", "a")]
    shown = draw(st.sampled_from([*pairs, ("a",), ("a", "stranger"), ("a", "a")]))
    told = [None, "others", *(basis(PROMPT, each) for each in BANK if each.id == id_)]
    canary = None if vote else draw(st.sampled_from([None, None, "empty", "twins"]))
    scores = draw(st.none() | st.just((1.0,) * len(shown)))
    return Review(
        question=id_,
        judge=draw(st.sampled_from(["human-x", "j"])),
        prompt=VOTE if vote else draw(st.sampled_from(["pair-scores", "unknown"])),
        shown=shown,
        answers=tuple(draw(st.sampled_from(HASHES[:1] * 8 + HASHES)) for _ in shown),
        text="",
        scores=scores,
        asked=draw(st.sampled_from("xyz")),
        sample=draw(st.integers(0, 1)),
        prompt_hash=draw(st.sampled_from(told)),
        first_turns=draw(st.sampled_from([None, None, None, None, 1, 2])),
        canary=canary,
        right=0 if canary == "empty" and len(shown) == 2 else None,
    )


def stands(row):
    """Whether a row is of what is asked, told and answered now."""
    question = next((each for each in BANK if each.id == row.question), None)
    if question is None:
        return False
    if row.prompt == "pair-scores" and row.prompt_hash not in (None, basis(PROMPT, question)):
        return False
    if row.canary and len(row.shown) == 1:
        return True
    places = range(len(row.shown)) if row.canary is None else [row.right or 0]
    turns = {None: TURNS, 1: TURNS[:1], 2: TURNS}[row.first_turns]
    return all(
        row.shown[place] == "stranger" or row.answers[place] == short_hash(turns)
        for place in places
    )


def by_hand(reviews):
    last = {}
    for row in reviews:
        if stands(row) and row.prompt == VOTE:
            last[row.question, row.judge, frozenset(row.shown), row.sample] = row
        elif stands(row):
            place = row.answers if row.prompt_hash else row.asked
            whose = row.question, row.judge, row.prompt, row.shown
            last[(*whose, row.canary, row.sample, place)] = row
    return [row for row in last.values() if row.scores or row.prompt != VOTE]


@settings(max_examples=300)
@given(st.lists(rows(), max_size=12))
def test_what_counts_is_what_a_person_would_count(reviews):
    counted, stale = standing(BANK, ANSWERS, reviews, {"pair-scores": PROMPT})
    assert counted == by_hand(reviews)
    assert stale == [row for row in reviews if not stands(row)]
    light = standing(BANK, ANSWERS, Rows.of(reviews), {"pair-scores": PROMPT})
    assert all(isinstance(part, Rows) for part in light)
    for part, whole in zip(light, (counted, stale), strict=True):
        assert [(*row.key, row.scores) for row in part] == [(*row.key, row.scores) for row in whole]


def test_of_one_showing_the_last_counts_and_what_tells_showings_apart():
    row = Review(
        question="q1", judge="j", prompt="unknown", shown=("a", "b"), answers=(HASHES[0],) * 2,
        text="", scores=(1.0, 2.0), asked="x",
    )  # fmt: skip
    told = row.model_copy(update={"prompt_hash": "told"})
    vote = row.model_copy(update={"prompt": VOTE})
    other = {"asked": "y", "scores": (3.0, 4.0)}
    cases = [
        ([row, row.model_copy(update=other)], 2),  # nothing is known but what was asked
        ([told, told.model_copy(update=other)], 1),
        ([vote, vote.model_copy(update=other | {"shown": ("b", "a")})], 1),
        ([vote, vote.model_copy(update=other | {"scores": None})], 0),
    ]
    for reviews, number in cases:
        counted, stale = standing(BANK, ANSWERS, reviews, {})
        assert (counted, stale) == (reviews[len(reviews) - number :], [])
