"""What a chatbot is asked: what is owed, turn by turn, and which answers count."""

from itertools import pairwise

import pytest
from conftest import answer, question, review

from evalkit.answer import Asking, Settings, spread, standing
from evalkit.chat import Reply
from evalkit.records import Answer, Question, Review, Usage, short_hash
from evalkit.report.results import evidence

ONE = Question(**question("q1"))
LONG = Question(**question("long", turns=["First?", "Second?", "Third?"]))


def asking(*questions, rows=(), model="m", model_id="m-0613", **settings):
    return Asking(model, model_id, questions, rows, Settings(**settings))


def said(request):
    """What our chatbot says: how often it was asked, and what last."""
    asked = [each.text for each in request.messages if each.role == "user"]
    return f"{len(asked)}. {asked[-1]}"


def play(asked, most=1000):
    """Make the calls that are owed, at most so many; the requests and the rows that came."""
    requests, rows = [], []
    waiting = list(asked.requests())
    while waiting and len(rows) < most:
        request = waiting.pop(0)
        row = asked.record(request, Reply(said(request)), None)
        following = asked.take(row)
        requests.append(request)
        rows.append(row)
        waiting = [*([following] if following else []), *waiting]
    return requests, rows


def owed(asked):
    return [(request.about[0], request.sample) for request in asked.requests()]


def words(request):
    return [(each.role, each.text) for each in request.messages]


# -- what is owed


def test_a_row_that_was_asked_exactly_so_is_not_owed():
    requests, rows = play(asking(ONE, LONG))
    assert [request.about for request in requests] == [("q1",), *[("long",)] * 3]
    again = asking(ONE, LONG, rows=rows)
    assert owed(again) == []
    assert list(again.calls()) == []
    assert [row.question for row in again.complete()] == ["q1", "long"]
    assert again.total == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": 0.5},
        {"max_tokens": 7},
        {"seed": 1},
        {"model_id": "m-0314"},
    ],
    ids=str,
)
def test_what_was_asked_otherwise_is_owed(changed):
    rows = play(asking(ONE))[1]
    assert owed(asking(ONE, rows=rows, **changed)) == [("q1", 0)]
    more = play(asking(ONE, rows=rows, **changed))[1]
    assert owed(asking(ONE, rows=[*rows, *more])) == owed(asking(ONE, rows=more, **changed)) == []


def test_a_seed_of_zero_is_a_seed():
    rows = play(asking(ONE))[1]
    assert owed(asking(ONE, rows=rows, seed=0)) == [("q1", 0)]
    requests, _ = play(asking(ONE, samples=2, seed=0))
    assert [each.sampling.seed for each in requests] == [0, 1]


@pytest.mark.parametrize("turn", range(3))
def test_an_edited_turn_is_owed_with_all_that_follow_it(turn):
    rows = play(asking(LONG))[1]
    turns = list(LONG.turns)
    turns[turn] += " Really?"
    edited = LONG.model_copy(update={"turns": tuple(turns)})
    asked = asking(edited, rows=rows)
    assert [words(request)[-1] for request in asked.requests()] == [("user", turns[turn])]
    assert len(play(asked)[0]) == 3 - turn
    assert asked.complete()


def test_the_name_under_which_a_model_goes_here_is_not_what_it_is_asked():
    rows = play(asking(ONE, model="m"))[1]
    assert owed(asking(ONE, rows=rows, model="alias")) == []


def test_a_row_of_a_question_that_is_not_asked_is_no_matter():
    rows = play(asking(ONE, LONG))[1]
    asked = asking(ONE, rows=rows)
    assert (owed(asked), asked.total, len(asked.complete())) == ([], 1, 1)


# -- chains of turns


def test_the_models_own_answers_are_sent_back():
    requests, rows = play(asking(LONG))
    first, second, third = "1. First?", "2. Second?", "3. Third?"
    assert words(requests[0]) == [("user", "First?")]
    assert words(requests[1]) == [("user", "First?"), ("assistant", first), ("user", "Second?")]
    assert words(requests[2]) == [
        *words(requests[1]),
        ("assistant", second),
        ("user", "Third?"),
    ]
    assert [row.turns for row in rows] == [(first,), (first, second), (first, second, third)]
    assert len({row.key for row in rows}) == 3


@pytest.mark.parametrize("kept", range(4))
def test_a_conversation_goes_on_where_it_stopped(kept):
    whole = play(asking(LONG))[1]
    asked = asking(LONG, rows=whole[:kept])
    requests, rows = play(asked)
    assert rows == whole[kept:]
    assert asked.complete() == whole[2:]
    if requests:
        assert words(requests[0])[-1] == ("user", LONG.turns[kept])


def test_an_answer_is_complete_only_with_its_last_turn():
    asked = asking(LONG)
    for number in range(3):
        assert asked.complete() == []
        request = next(asked.requests())
        following = asked.take(asked.record(request, Reply("x"), None))
        assert (following is None) == (number == 2)
    assert [row.turns for row in asked.complete()] == [("x", "x", "x")]


def test_an_empty_answer_is_no_reason_to_ask_again_and_is_sent_back():
    asked = asking(LONG)
    request = next(asked.requests())
    following = asked.take(asked.record(request, Reply(""), None))
    assert words(following) == [("user", "First?"), ("assistant", ""), ("user", "Second?")]


def test_a_row_is_not_taken_for_that_of_a_question_that_begins_alike():
    twin = LONG.model_copy(update={"id": "twin", "turns": ("First?", "Otherwise?")})
    requests, rows = play(asking(LONG, twin))
    assert requests[0].asked("m-0613") == requests[3].asked("m-0613")
    assert [row.question for row in rows] == ["long"] * 3 + ["twin"] * 2
    assert owed(asking(LONG, twin, rows=rows[:3])) == [("twin", 0)]


def test_all_turns_of_a_conversation_are_drawn_alike():
    requests, _ = play(asking(LONG, temperature=0.3, max_tokens=9, seed=2))
    drawn = [each.sampling.parameters() for each in requests]
    assert drawn == [{"temperature": 0.3, "max_tokens": 9, "seed": 2}] * 3


# -- how it is drawn


def test_each_sample_is_owed_for_itself_with_its_own_seed():
    requests, rows = play(asking(ONE, LONG, samples=3, seed=40))
    seeds = {(each.about[0], each.sample): each.sampling.seed for each in requests}
    assert seeds == {(id_, n): 40 + n for id_ in ("q1", "long") for n in range(3)}
    assert len({row.key for row in rows}) == len(rows) == 12
    left = [row for row in rows if row.sample != 1]
    assert sorted(owed(asking(ONE, LONG, rows=left, samples=3, seed=40))) == [
        ("long", 1),
        ("q1", 1),
    ]


def test_samples_without_a_seed_are_not_taken_for_each_other():
    rows = play(asking(ONE))[1]
    assert owed(asking(ONE, rows=rows, samples=3)) == [("q1", 1), ("q1", 2)]
    assert len({row.asked for row in play(asking(ONE, samples=3))[1]}) == 1


def test_fewer_samples_than_there_are_owe_nothing():
    rows = play(asking(ONE, samples=3))[1]
    asked = asking(ONE, rows=rows)
    assert (owed(asked), asked.total, asked.complete()) == ([], 1, rows[:1])


@pytest.mark.parametrize(
    ("category", "temperature"),
    [("writing", 0.7), ("roleplay", 0.7), ("math", 0.0), ("coding", 0.0), ("of my own", 0.0)],
)
def test_a_category_has_its_temperature_unless_one_is_given(category, temperature):
    here = ONE.model_copy(update={"category": category})
    (request,) = asking(here).requests()
    assert request.sampling.parameters() == {"temperature": temperature, "max_tokens": 1024}
    for given in (0.0, 1.5):
        (request,) = asking(here, temperature=given).requests()
        assert request.sampling.temperature == given


# -- the calls to put a price on


def test_every_owed_call_is_counted_with_the_replies_that_are_not_there_yet():
    asked = asking(ONE, LONG, samples=2)
    counted = [(each.about[0], each.sample, unsaid) for each, unsaid in asked.calls()]
    chain = [("long", 0), ("long", 1), ("long", 2)]
    assert counted == [
        (id_, sample, unsaid) for sample in (0, 1) for id_, unsaid in [("q1", 0), *chain]
    ]
    texts = [words(each) for each, _ in asked.calls()][1:4]
    assert texts == [[("user", turn) for turn in LONG.turns[: n + 1]] for n in range(3)]


def test_calls_go_on_from_what_is_there():
    rows = play(asking(LONG), most=1)[1]
    calls = list(asking(LONG, rows=rows).calls())
    assert [unsaid for _, unsaid in calls] == [0, 1]
    assert words(calls[0][0])[1:] == [("assistant", "1. First?"), ("user", "Second?")]


@pytest.mark.parametrize("kept", range(5))
def test_as_many_calls_are_counted_as_are_made(kept):
    rows = play(asking(ONE, LONG))[1][:kept]
    counted = sum(1 for _ in asking(ONE, LONG, rows=rows).calls())
    assert counted == len(play(asking(ONE, LONG, rows=rows))[0]) == 4 - kept


# -- the row


def test_a_row_says_what_was_asked_and_all_that_came():
    asked = asking(LONG, seed=5)
    first = next(asked.requests())
    request = asked.take(asked.record(first, Reply("One."), None))
    reply = Reply(
        text="Two.",
        served="m-0613-b",
        usage=Usage(input=11, output=2),
        finish_reason="length",
        reasoning="Hm.",
        refusal="No.",
        repaired=1,
        sampling={"max_completion_tokens": 1024},
        latency=0.25,
        time="2026-11-01T00:00:00+00:00",
    )
    assert asked.record(request, reply, 0.125) == Answer(
        question="long",
        model="m",
        turns=("One.", "Two."),
        question_hash=short_hash(LONG.turns),
        asked=request.asked("m-0613"),
        sample=0,
        served="m-0613-b",
        usage=Usage(input=11, output=2),
        dollars=0.125,
        finish_reason="length",
        reasoning="Hm.",
        refusal="No.",
        repaired=1,
        sampling={"max_completion_tokens": 1024},
        latency=0.25,
        time="2026-11-01T00:00:00+00:00",
    )


def test_a_row_tells_a_cost_that_is_unknown_from_one_of_nothing():
    asked = asking(ONE)
    request = next(asked.requests())
    assert [asked.record(request, Reply("x"), cost).dollars for cost in (None, 0.0)] == [None, 0.0]


def test_a_row_of_a_sample_says_which():
    rows = play(asking(ONE, samples=2, seed=7))[1]
    assert [row.sample for row in rows] == [0, 1]
    assert rows[0].asked != rows[1].asked


# -- which answers count


def test_the_last_complete_row_counts():
    old = play(asking(ONE, LONG))[1]
    new = play(asking(ONE, temperature=1.0))[1]
    assert standing([ONE, LONG], [*old, *new]) == [*new, old[-1]]


def test_an_unfinished_conversation_does_not_count_and_leaves_the_older_answer_standing():
    old = play(asking(LONG))[1]
    begun = play(asking(LONG, temperature=1.0), most=2)[1]
    assert standing([LONG], begun) == []
    assert standing([LONG], [*old, *begun]) == old[-1:]


def test_an_answer_to_a_question_that_was_edited_does_not_count():
    rows = play(asking(ONE, LONG))[1]
    edited = ONE.model_copy(update={"turns": ("Something else?",)})
    assert standing([edited, LONG], rows) == rows[-1:]
    assert standing([LONG], rows) == rows[-1:]


def test_an_edit_that_is_no_question_leaves_the_answer_standing():
    rows = play(asking(ONE))[1]
    again = ONE.model_copy(update={"reference": ("42",), "category": "math"})
    assert standing([again], rows) == rows


@pytest.mark.parametrize("turns", [["One."], ["One.", "Two."]])
def test_a_row_that_does_not_say_what_was_asked_counts(turns):
    row = Answer(**answer("long", turns=turns))
    assert standing([LONG], [row]) == [row]


def test_models_and_samples_stand_beside_each_other():
    rows = [row for model in "ab" for row in play(asking(ONE, model=model, samples=2, seed=1))[1]]
    assert standing([ONE], rows) == rows


# -- answers that will count no more


def test_answers_of_other_settings_are_counted_before_they_are_replaced():
    rows = play(asking(ONE, LONG))[1]
    assert asking(ONE, LONG).asked_otherwise() == 0
    assert asking(ONE, LONG, rows=rows).asked_otherwise() == 0
    assert asking(ONE, LONG, rows=rows, temperature=1.0).asked_otherwise() == 2
    assert asking(ONE, LONG, rows=rows[:3], temperature=1.0).asked_otherwise() == 1
    assert asking(ONE, LONG, rows=rows[:1]).asked_otherwise() == 0


def test_an_imported_answer_is_counted_among_them_and_an_edited_question_is_not():
    imported = Answer(**answer("q1", "m"))
    assert asking(ONE, LONG, rows=[imported]).asked_otherwise() == 1
    rows = play(asking(ONE))[1]
    edited = ONE.model_copy(update={"turns": ("Something else?",)})
    assert asking(edited, rows=rows).asked_otherwise() == 0


def test_only_the_samples_that_are_owed_are_counted():
    rows = play(asking(ONE, samples=2))[1]
    assert asking(ONE, rows=rows, samples=3).asked_otherwise() == 0
    assert asking(ONE, rows=rows, samples=3, max_tokens=7).asked_otherwise() == 2
    assert asking(ONE, rows=rows, samples=1, max_tokens=7).asked_otherwise() == 1


# -- a part of a bank


def some(**categories):
    return [
        Question(**question(f"{name}{n}", category=name))
        for name, number in categories.items()
        for n in range(number)
    ]


@pytest.mark.parametrize(
    ("limit", "chosen"),
    [
        (1, "a0"),
        (3, "a0 b0 c0"),
        (4, "a0 a1 b0 c0"),
        (6, "a0 a1 a2 b0 b1 c0"),
        (8, "a0 a1 a2 a3 a4 b0 b1 c0"),
        (9, "a0 a1 a2 a3 a4 b0 b1 c0"),
        (None, "a0 a1 a2 a3 a4 b0 b1 c0"),
    ],
)
def test_a_part_of_a_bank_takes_of_every_category_in_turn_and_keeps_its_order(limit, chosen):
    bank = some(a=5, b=2, c=1)
    assert [each.id for each in spread(bank, limit)] == chosen.split()


def test_a_bank_whose_categories_are_mixed_keeps_its_order():
    a, b, c = some(a=2), some(b=2), some(c=1)
    bank = [a[0], b[0], a[1], c[0], b[1]]
    assert [each.id for each in spread(bank, 4)] == ["a0", "b0", "a1", "c0"]


def test_a_larger_part_holds_the_smaller_one():
    bank = some(a=5, b=2, c=4)
    parts = [{each.id for each in spread(bank, limit)} for limit in range(1, 12)]
    assert all(one < two for one, two in pairwise(parts))


# -- in the report


def test_the_report_counts_a_conversation_that_stopped_half_way_as_owed():
    rows = [*play(asking(ONE))[1], *play(asking(LONG), most=2)[1]]
    found = evidence("mine", [ONE, LONG], rows, []).results
    (told,) = found.answers
    assert (told.model, told.answers, told.owed) == ("m", 1, 1)
    assert "m: 1 of 2 answers are owed." in found.missing
    whole = evidence("mine", [ONE, LONG], [*rows, *play(asking(LONG, rows=rows))[1]], []).results
    assert (whole.answers[0].answers, whole.answers[0].owed) == (2, 0)


def test_the_report_leaves_out_reviews_of_answers_to_an_edited_question():
    rows = [row for model in "ab" for row in play(asking(ONE, LONG, model=model))[1]]
    last = {(row.question, row.model): row.hash for row in standing([ONE, LONG], rows)}
    reviews = [
        Review(**review(id_, answers=[last[id_, "a"], last[id_, "b"]])) for id_ in ("q1", "long")
    ]
    whole = evidence("mine", [ONE, LONG], rows, reviews, "a").results
    assert [(each.reviews, each.stale) for each in whole.reviews] == [(2, 0)]

    edited = ONE.model_copy(update={"turns": ("Something else?",)})
    found = evidence("mine", [edited, LONG], rows, reviews, "a").results
    assert [(each.reviews, each.stale) for each in found.reviews] == [(1, 1)]
    assert [(each.answers, each.owed) for each in found.answers] == [(1, 1), (1, 1)]
    assert found.pairs[0].questions == 1


def test_the_report_leaves_out_reviews_of_a_conversation_that_was_not_over():
    rows = [row for model in "ab" for row in play(asking(LONG, model=model))[1]]
    half = [row for row in rows if len(row.turns) == 2]
    judged = Review(**review("long", answers=[row.hash for row in half]))
    found = evidence("mine", [LONG], rows, [judged], "a").results
    assert [(each.reviews, each.stale) for each in found.reviews] == [(0, 1)]
