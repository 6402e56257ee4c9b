"""What a million rows need: a page of the telling ones, a judge that starts without filling all."""

import random

import pytest
from conftest import answer, question, review, write_lines

from evalkit.chat import Reply, about
from evalkit.cli import report as report_verb
from evalkit.judge import judging
from evalkit.judge.judging import Judging
from evalkit.judge.showings import plan
from evalkit.prompts import JudgePrompt
from evalkit.records import Answer, Question, Review, Usage
from evalkit.report import explorer
from evalkit.report.page import page
from evalkit.report.results import evidence
from evalkit.skim import read
from evalkit.workspace import SHIPPED, Workspace
from evalkit.yamlfile import load

BOTH = (("base", "m"), ("m", "base"))
SCORES = {  # of base and m, with base first and with m first
    "wide-win": ((1, 9), (1, 9)),
    "win": ((6, 7), (6, 7)),
    "tie": ((7, 7), (7, 7)),
    "loss": ((8, 6), (8, 6)),
    "turned": ((9, 1), (1, 9)),
    "unread": (None, None),
    "plain": ((7, 7), (7, 7)),
}


def rows():
    return [
        review(id_, shown, scores and (scores if shown == BOTH[0] else scores[::-1]))
        for id_, of in SCORES.items()
        for shown, scores in zip(BOTH, of, strict=True)
    ]


def made():
    bank = [Question.model_validate(question(id_)) for id_ in [*SCORES, "nobody"]]
    answers = [Answer.model_validate(answer(q.id, m)) for q in bank for m in ("base", "m")]
    return evidence("mine", bank, answers, [*map(Review.model_validate, rows())], "base")


def test_the_questions_that_tell_the_most_come_first():
    places = explorer.telling(made().battles)
    first = {id_ for id_, place in places.items() if place == 1}
    assert first - {"tie", "plain"} == {"wide-win", "loss", "turned", "unread"}
    assert sorted([places["tie"], places["plain"]]) == [1, 2]
    assert places["win"] == 2
    assert explorer.telling(made().battles.iloc[:0]) == {}


def test_a_page_has_as_many_as_it_has_room_for():
    found = made()
    assert explorer.chosen(found) == [*SCORES, "nobody"]
    chosen = explorer.chosen(found, 22)  # rows; four of a question
    assert len(chosen) == 5
    assert {"win", "nobody"}.isdisjoint(chosen)
    assert explorer.chosen(found, 1) == chosen[:1]
    ids = [*SCORES]
    assert explorer.of_size(ids, found.answers, found.reviews, 10**9) == ids
    few = explorer.of_size(ids, found.answers, found.reviews, 1500)
    assert 1 < len(few) < len(ids)
    assert few == ids[: len(few)]


def test_the_page_says_what_it_leaves_out_and_its_numbers_are_of_all(tmp_path, monkeypatch):
    write_lines(tmp_path / "questions/mine.jsonl", [question(id_) for id_ in SCORES])
    for model in ("base", "m"):
        write_lines(
            tmp_path / f"answers/mine/{model}.jsonl", [answer(id_, model) for id_ in SCORES]
        )
    write_lines(tmp_path / "reviews/mine/judge.pair-scores.jsonl", rows())
    workspace = Workspace(tmp_path)
    found = report_verb.found_in(workspace, "mine", "base", None)
    whole = report_verb.with_words(workspace, found)
    assert (whole.left_out, len(whole.reviews)) == (0, 14)
    assert {review.text for review in whole.reviews} == {row["text"] for row in rows()}
    monkeypatch.setattr(explorer.chosen, "__defaults__", (22,))
    some = report_verb.with_words(workspace, found)
    assert (some.left_out, len(some.reviews), len(some.answers)) == (2, 10, 10)
    html = page(some)
    assert "5 of 7 questions are listed, those that tell the most" in html
    assert "are listed, those that tell" not in page(whole)
    assert some.results == whole.results == found.results


PROMPT = load(SHIPPED / "prompts/judge/pair-scores.yaml", JudgePrompt)


def asked(rows, samples=1, text="", **how):
    """A judging of six questions with the rows that are there."""
    bank = [Question.model_validate(question(f"q{n}")) for n in range(6)]
    said = f"{{}} {{}}{text}".format
    answers = [Answer.model_validate(answer(q.id, m, said(q.id, m))) for q in bank for m in "ab"]
    showings = plan(bank, answers, [("a", "b")], samples=samples).showings
    how = {"judge": "j", "model_id": "id", "prompt": PROMPT} | how
    return Judging(prompt_name="pair-scores", showings=showings, rows=rows, **how)


def bought(text="8 9"):
    judging_ = asked([])
    return [judging_.record(request, Reply(text), 0.1) for request in judging_.requests()]


def lightly(rows):
    return read(Review, ["\n".join(row.line() for row in rows).encode()])


@pytest.fixture
def fills(monkeypatch):
    """How many prompts were filled."""
    counted, fill = [], judging.filled
    monkeypatch.setattr(judging, "filled", lambda *a, **k: counted.append(1) or fill(*a, **k))
    return counted


@pytest.mark.parametrize("light", [False, True])
def test_what_is_there_is_known_without_filling_a_prompt(fills, light):
    rows = bought()
    rows = lightly(rows) if light else rows
    fills.clear()
    again = asked(rows)
    assert len(again.complete()) == again.total == 12
    assert not fills
    assert [*asked(rows[:11]).owed()] == [*asked([]).owed()][11:]
    assert not fills


def test_rows_that_do_not_say_how_they_were_asked_are_compared_word_for_word(fills):
    rows = [row.model_copy(update={"manner": None}) for row in bought()]
    fills.clear()
    assert len(asked(rows).complete()) == 12
    assert len(fills) == 12


COLDER = PROMPT.model_copy(
    update={"sampling": PROMPT.sampling.model_copy(update={"max_tokens": 77})}
)
REWORDED = PROMPT.model_copy(update={"system": "Judge well."})


@pytest.mark.parametrize(
    "how", [{"model_id": "other"}, {"prompt": COLDER}, {"prompt": REWORDED}, {"structured": True}]
)
@pytest.mark.parametrize("manner", [True, False])
def test_what_would_be_asked_otherwise_is_owed(how, manner):
    rows = bought()
    if not manner:
        rows = [row.model_copy(update={"manner": None}) for row in rows]
    assert len([*asked(rows, **how).owed()]) == 12


def test_an_unreadable_reply_is_asked_again_with_its_words(fills):
    rows = lightly(bought("I will not say."))
    request = next(asked(rows).requests())
    assert [message.text for message in request.messages[2:]] == ["I will not say.", PROMPT.repair]


OTHER_WORDS = PROMPT.model_copy(update={"template": PROMPT.template + "!"})


def replies(chance, rows):
    """What a run leaves: replies of all kinds, some asked again, in any order, some not come."""
    for how in (
        {"model_id": "other"},
        {"prompt": OTHER_WORDS},
        {"samples": 3},
        {"text": "new"},
    ):
        judging_ = asked([], **how)
        for request in judging_.requests():
            while request is not None and chance.random() < 0.7:
                text = chance.choice(["8 9", "7 7", "Both are fine.", ""])
                cut = "length" if chance.random() < 0.2 else "stop"
                row = judging_.record(request, Reply(text, finish_reason=cut), 0.1)
                rows.append(row)
                request = judging_.take(row)
    chance.shuffle(rows)
    return [*{row.key: row for row in rows}.values()]  # a ledger holds none twice


@pytest.mark.parametrize("seed", range(8))
def test_what_is_known_by_hashes_is_what_is_known_by_filling_every_prompt(seed):
    rows = replies(random.Random(seed), [])
    unknown = [row.model_copy(update={"manner": None}) for row in rows]
    for how in (
        {},
        {"samples": 2},
        {"prompt": OTHER_WORDS},
        {"model_id": "other"},
        {"text": "new"},
    ):
        slow = asked(unknown, **how)
        for quick in (asked(rows, **how), asked(lightly(rows), **how)):
            assert [*quick.owed()] == [*slow.owed()]
            assert (quick.total, quick.done) == (slow.total, slow.done)
            done = [(about(row), row.sample) for row in quick.complete()]
            assert sorted(done) == sorted((about(row), row.sample) for row in slow.complete())
            assert len(done) == quick.done == quick.total - len([*quick.owed()])
            assert {r.asked for r in quick.complete()} == {r.asked for r in slow.complete()}
            assert quick.usual() == slow.usual()


def test_of_rows_that_were_asked_the_same_the_last_one_counts():
    first, *others = bought()
    second = first.model_copy(update={"scores": (1.0, 2.0), "asked": "1"})
    for rows in ([first, second, *others], lightly([first, *others, second])):
        (row,) = (row for row in asked(rows).complete() if about(row) == about(first))
        assert row.scores == (1.0, 2.0)
    assert len(asked([first]).complete()) == 1


def test_samples_that_nobody_asks_for_are_not_taken_for_others():
    rows = bought()
    odd = [row.model_copy(update={"sample": n}) for row in rows for n in (-1, 7, 2**70)]
    assert asked(odd, samples=2).done == 0
    assert asked([*odd, *rows], samples=2).done == 12


def test_each_showing_is_owed_as_often_as_it_is_asked():
    bank = [Question.model_validate(question(f"q{n}")) for n in range(40)]
    answers = [Answer.model_validate(answer(q.id, m, f"{q.id} {m}")) for q in bank for m in "ab"]
    showings = plan(bank, answers, [("a", "b")], again=True).showings
    judging_ = Judging("j", "id", "pair-scores", PROMPT, showings, [])
    assert {each.samples for each in showings} == {1, 2}
    assert judging_.total == sum(each.samples for each in showings) == len([*judging_.owed()])
    rows = [judging_.record(request, Reply("8 9"), 0.1) for request in judging_.requests()]
    for row in rows[:9]:
        for _ in range(2):  # it is counted once
            assert judging_.take(row) is None
    assert (judging_.done, len(judging_.complete()), judging_.total) == (9, 9, len(rows))
    again = Judging("j", "id", "pair-scores", PROMPT, showings, rows[9:])
    assert (again.done, again.total) == (len(rows) - 9, len(rows))


def test_a_row_that_was_here_already_is_counted_once():
    rows = bought()
    again = asked(rows)
    assert again.take(rows[0]) is None
    assert (again.done, again.total, len(again.complete())) == (12, 12, 12)


def test_what_is_usual_is_told_by_replies_to_what_is_asked_first():
    rows, judging_ = [], asked([])
    for request in judging_.requests():
        rows.append(judging_.record(request, Reply("Both.", usage=Usage(input=9, output=50)), 0.1))
        again = judging_.take(rows[-1])
        rows.append(judging_.record(again, Reply("8 9", usage=Usage(input=4000, output=3)), 0.1))
        judging_.take(rows[-1])
    for given in (rows, lightly(rows)):
        assert asked(given).done == 12
        assert asked(given).usual() == asked([]).usual()
    rows = [row.model_copy(update={"scores": (1.0, 2.0)}) for row in rows[::2]]
    assert asked(rows).usual()[0] == asked(lightly(rows)).usual()[0] == 50
